//! The contract's types and calls, generated from `wit/policy.wit`.
//!
//! One module per track of the contract. A later track gets its own module next to this one, with conversions into
//! the crate's own types; plugins of all tracks run side by side.

/// Track 0.2.
pub(crate) mod v0_2 {
    use std::hash::{Hash, Hasher};

    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "policy",
        additional_derives: [PartialEq, Hash],
    });

    // The flags macro does not derive this.
    impl Hash for weir::policy::types::VipKinds {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.as_array().hash(state);
        }
    }

    impl Hash for weir::policy::types::EndpointState {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.as_array().hash(state);
        }
    }
}

pub(crate) use v0_2::exports::weir::policy::{filter, lifecycle, masquerade, scheduler};
pub(crate) use v0_2::weir::policy::{log, types};
