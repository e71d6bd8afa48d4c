//! What plugins of weir see (`Context`, `Service`) and answer (`Verdict`, `Schedule`, `Treatments`): the records of
//! `wit/policy.wit` as Rust values, with addresses as addresses and names where the contract has indexes.
//!
//! Their JSON form is that of recorded views and golden tests, and what `weir plugin run` and `weir explain` print. It
//! is the same on both sides, so that what was recorded on a node can be replayed natively and in a component.
//!
//! Never: WebAssembly, a rule about Services, input or output.

mod answers;
mod conversions;
pub mod glob;
mod lowering;
mod seen;

pub use answers::{
    Drain, Persistence, Refusal, Schedule, Scheduling, SourceAction, SourceFilter, Treatment, Treatments,
    Verdict, Weights,
};
pub use seen::{
    Attributes, Context, Endpoint, Family, Node, Port, Protocol, ServerStatistics, Service, Slice, Vip,
    VipKind,
};
