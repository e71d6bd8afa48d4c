//! Whether the node keeps up with the cluster: the answers of `/healthz` and `/livez`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_core::net::{Family, PerFamily};

use crate::moment::{Clock, Moment, NEVER, rfc3339};

/// The taint by which the cluster autoscaler marks a node that it is about to delete (`ToBeDeletedTaint` in
/// `cluster-autoscaler/utils/taints`).
pub const TO_BE_DELETED_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// A family is late when its oldest change waits for this many synchronisation periods
/// (`cmd/kube-proxy/app/server.go`, `2*s.Config.SyncPeriod`).
const PERIODS: u32 = 2;

/// What is known of this node's Node object with respect to load balancer traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// Not seen yet, or deleted.
    #[default]
    Unknown,
    /// It exists and is to stay.
    Present,
    /// It has a deletionTimestamp or the autoscaler's taint.
    Leaving,
}

impl NodeState {
    /// The state of a Node. `deletion` is its `metadata.deletionTimestamp`; `taints` are the keys of its
    /// `spec.taints`, whatever their effects.
    pub fn of<'a, T>(deletion: Option<T>, taints: impl IntoIterator<Item = &'a str>) -> NodeState {
        if deletion.is_some() || taints.into_iter().any(|key| key == TO_BE_DELETED_TAINT) {
            NodeState::Leaving
        } else {
            NodeState::Present
        }
    }
}

/// The sync thread's progress, from which health requests are answered. Clones share their state.
///
/// A family counts from its first [`updated`](Health::updated) on. The loop calls `updated` at its start, before
/// anything is written. Until then, queued changes do not make the node unhealthy, as in kube-proxy.
#[derive(Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    clock: Clock,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    families: PerFamily<Progress>,
    node: NodeState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    updated: Option<Moment>,
    queued: Option<Moment>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("state", &self.state).field("timeout", &self.timeout).finish()
    }
}

impl Health {
    /// Health by the system's clocks; `sync_period` is the configuration's `syncPeriod`.
    pub fn new(sync_period: Duration) -> Health {
        Health::with_clock(sync_period, Arc::new(Moment::now))
    }

    /// Health with another clock, for tests. The moments given to [`queued`](Health::queued) and
    /// [`updated`](Health::updated) must come from the same clock.
    pub fn with_clock(sync_period: Duration, clock: Clock) -> Health {
        Health { state: Arc::default(), clock, timeout: sync_period * PERIODS }
    }

    /// Records that a change arrived that is not in the kernel yet. Only the first since the last
    /// [`updated`](Health::updated) counts.
    pub fn queued(&self, family: Family, now: Moment) {
        self.state().families.get_mut(family).queued.get_or_insert(now);
    }

    /// Records that all changes so far are in the kernel; also called once when the loop starts.
    pub fn updated(&self, family: Family, now: Moment) {
        *self.state().families.get_mut(family) = Progress { updated: Some(now), queued: None };
    }

    /// Since when a change has been waiting to reach the kernel; `None` if no change waits.
    pub fn waits_since(&self) -> Option<Moment> {
        let families = self.state().families;
        let queued = [families.v4.queued, families.v6.queued];
        queued.into_iter().flatten().min_by_key(|moment| moment.monotonic)
    }

    /// Sets what is known of the Node object.
    pub fn node(&self, node: NodeState) {
        self.state().node = node;
    }

    /// Whether no family is late; also reported on the health check ports of services.
    pub fn is_healthy(&self) -> bool {
        self.livez().is_success()
    }

    /// The answer of `/healthz`.
    pub(crate) fn healthz(&self) -> Answer {
        let state = *self.state();
        Answer { eligible: Some(state.node == NodeState::Present), ..self.answer(&state) }
    }

    /// The answer of `/livez`, which does not depend on the Node object.
    pub(crate) fn livez(&self) -> Answer {
        self.answer(&self.state())
    }

    fn answer(&self, state: &State) -> Answer {
        let now = (self.clock)();
        let family = |progress: &Progress| {
            let late = progress.queued.is_some_and(|queued| now.since(queued) >= self.timeout);
            progress.updated.map(|updated| FamilyAnswer { updated, healthy: !late })
        };
        let families = PerFamily { v4: family(&state.families.v4), v6: family(&state.families.v6) };
        Answer { now, eligible: None, families }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    now: Moment,
    /// Whether load balancers should use the node; `None` if not stated.
    eligible: Option<bool>,
    families: PerFamily<Option<FamilyAnswer>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FamilyAnswer {
    updated: Moment,
    healthy: bool,
}

impl Answer {
    /// Whether the answer is 200 and not 503.
    pub(crate) fn is_success(&self) -> bool {
        self.is_healthy() && self.eligible != Some(false)
    }

    /// The body, as Go marshals kube-proxy's `ProxyHealth`.
    pub(crate) fn body(&self) -> String {
        let newest = self.families().map(|(_, family)| family.updated).max_by_key(|moment| moment.monotonic);
        let updated = if self.is_success() { Some(self.now) } else { newest };
        let updated = updated.map_or_else(|| NEVER.to_owned(), |moment| rfc3339(moment.wall));
        let eligible =
            self.eligible.map(|eligible| format!(r#""nodeEligible":{eligible},"#)).unwrap_or_default();
        let families: Vec<String> = self
            .families()
            .map(|(name, FamilyAnswer { updated, healthy })| {
                let updated = rfc3339(updated.wall);
                format!(r#""{name}":{{"lastUpdated":"{updated}","healthy":{healthy}}}"#)
            })
            .collect();
        let status = match families.join(",") {
            empty if empty.is_empty() => String::new(),
            families => format!(r#","status":{{{families}}}"#),
        };
        let (now, healthy) = (rfc3339(self.now.wall), self.is_healthy());
        format!(
            r#"{{"lastUpdated":"{updated}","currentTime":"{now}",{eligible}"healthy":{healthy}{status}}}"#
        )
    }

    fn is_healthy(&self) -> bool {
        self.families().all(|(_, family)| family.healthy)
    }

    fn families(&self) -> impl Iterator<Item = (Family, FamilyAnswer)> {
        Family::BOTH.into_iter().filter_map(|family| Some((family, (*self.families.get(family))?)))
    }
}

#[cfg(test)]
mod tests;
