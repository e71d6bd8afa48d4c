//! Checks a kernel after each change between two plans.

use std::sync::{Arc, Mutex};

use weir_core::simulated::Simulated;
use weir_core::state::KernelState;

use crate::watch::Bounds;

/// A watch over a kernel.
pub(super) struct Watch {
    violations: Arc<Mutex<Vec<String>>>,
    scope: Arc<Mutex<Scope>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Everything,
    Filters,
}

impl Watch {
    /// Watches a kernel that has the state `before` while it is brought to `after`.
    pub(super) fn start(kernel: &mut Simulated, before: &KernelState, after: &KernelState) -> Watch {
        let violations = Arc::new(Mutex::new(Vec::new()));
        let scope = Arc::new(Mutex::new(Scope::Everything));
        let bounds = Bounds::new(before, after);
        let (sink, looks_at) = (violations.clone(), scope.clone());
        kernel.observe(move |change, state| {
            let mut found = bounds.open_filters(state);
            if *looks_at.lock().unwrap() == Scope::Everything {
                found.extend(bounds.lost(state));
                found.extend(bounds.half_up(change, state));
            }
            sink.lock().unwrap().extend(found.into_iter().map(|what| format!("after `{change}`: {what}")));
        });
        Watch { violations, scope }
    }

    /// Like [`Watch::start`], but ignores lost and half-finished state, which faults cause.
    pub(super) fn for_filters_only(self) -> Watch {
        *self.scope.lock().unwrap() = Scope::Filters;
        self
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }
}
