//! The data that weir plugins see (`Context`, `Service`) and return (`Verdict`, `Schedule`, `Treatments`): the records of
//! `wit/policy.wit` as Rust values, with address types, and names where the contract has indexes.
//!
//! Recorded views, golden tests, `weir plugin run` and `weir explain` use their JSON form. It is the same in weir and in
//! plugins, so that a recording from a node can be replayed natively and in a component.
//!
//! This crate contains no WebAssembly, no rules about Services, and no I/O.

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
