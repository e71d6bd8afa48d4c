//! Since when endpoints have been ready: the only fact about a cluster that no object states and that a policy may
//! need (slow start counts from readiness, not from creation).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::net::Protocol;
use crate::objects::ObjectName;
use crate::view::ServiceView;

/// An endpoint of a service.
pub type EndpointKey = (Protocol, SocketAddr);

/// When each ready endpoint was first seen ready, in seconds since 1970. `None` means that it was ready before
/// observation started, so it is not a newcomer, an endpoint that has just become ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    since: BTreeMap<ObjectName, BTreeMap<EndpointKey, Option<u64>>>,
    phase: Phase,
}

/// Whether all objects have been seen once and watched since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Not yet: endpoints that are ready now were ready before.
    #[default]
    First,
    /// Yes: endpoints that are ready now and were not before just became ready.
    Running,
}

impl Readiness {
    /// Restores what an earlier process knew.
    pub fn restored(known: impl IntoIterator<Item = (ObjectName, EndpointKey, Option<u64>)>) -> Readiness {
        let mut readiness = Readiness::default();
        for (service, endpoint, since) in known {
            readiness.since.entry(service).or_default().insert(endpoint, since);
        }
        readiness
    }

    /// What is known, to be saved for a later process.
    pub fn known(&self) -> impl Iterator<Item = (&ObjectName, EndpointKey, Option<u64>)> {
        self.since.iter().flat_map(|(service, endpoints)| {
            endpoints.iter().map(move |(key, since)| (service, *key, *since))
        })
    }

    /// Since when an endpoint has been ready, if known.
    pub fn since(&self, service: &ObjectName, endpoint: EndpointKey) -> Option<u64> {
        *self.since.get(service)?.get(&endpoint)?
    }

    /// Records the endpoints of a service.
    pub fn observe(&mut self, view: &ServiceView, now: u64) {
        let old = self.since.remove(&view.service.name);
        // A service known to an earlier process may have got newcomers while no process ran.
        let newcomer = (self.phase == Phase::Running || old.is_some()).then_some(now);
        let old = old.unwrap_or_default();
        let mut new = BTreeMap::new();
        for port in &view.ports {
            for endpoint in port.endpoints.iter().filter(|endpoint| endpoint.conditions.ready) {
                let key = (port.port.protocol, endpoint.address);
                new.insert(key, old.get(&key).copied().unwrap_or(newcomer));
            }
        }
        if !new.is_empty() {
            self.since.insert(view.service.name.clone(), new);
        }
    }

    /// Forgets a deleted service.
    pub fn forget(&mut self, service: &ObjectName) {
        self.since.remove(service);
    }

    /// Marks that all objects were seen once; endpoints that become ready from now on are newcomers.
    pub fn settle(&mut self) {
        self.phase = Phase::Running;
    }

    /// Stops observing; endpoints that are ready when it resumes count as ready before.
    pub fn pause(&mut self) {
        self.phase = Phase::First;
    }
}

#[cfg(test)]
mod tests;
