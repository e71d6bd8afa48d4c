//! Since when endpoints are ready: the one thing about a cluster that no object says and a policy may want to know
//! (slow start counts from readiness, not from creation).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::net::Protocol;
use crate::objects::ObjectName;
use crate::view::ServiceView;

/// An endpoint of a service.
pub type EndpointKey = (Protocol, SocketAddr);

/// When each ready endpoint was first seen ready, in seconds since 1970. `None` stands for those that were ready before
/// anybody looked: they are no newcomers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    since: BTreeMap<ObjectName, BTreeMap<EndpointKey, Option<u64>>>,
    phase: Phase,
}

/// Whether all objects were looked at once, and were watched since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Not yet: what is ready now was ready before.
    #[default]
    First,
    /// Yes: what is ready now and was not before became ready just now.
    Running,
}

impl Readiness {
    /// What an earlier process knew.
    pub fn restored(known: impl IntoIterator<Item = (ObjectName, EndpointKey, Option<u64>)>) -> Readiness {
        let mut readiness = Readiness::default();
        for (service, endpoint, since) in known {
            readiness.since.entry(service).or_default().insert(endpoint, since);
        }
        readiness
    }

    /// What a later process should know.
    pub fn known(&self) -> impl Iterator<Item = (&ObjectName, EndpointKey, Option<u64>)> {
        self.since.iter().flat_map(|(service, endpoints)| {
            endpoints.iter().map(move |(key, since)| (service, *key, *since))
        })
    }

    /// Since when an endpoint is ready, if that is known.
    pub fn since(&self, service: &ObjectName, endpoint: EndpointKey) -> Option<u64> {
        *self.since.get(service)?.get(&endpoint)?
    }

    /// Takes note of the endpoints of a service.
    pub fn observe(&mut self, view: &ServiceView, now: u64) {
        let old = self.since.remove(&view.service.name);
        // A service that an earlier process knew got its newcomers while nobody looked.
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

    /// Forgets a service that is gone.
    pub fn forget(&mut self, service: &ObjectName) {
        self.since.remove(service);
    }

    /// All objects were seen once; whatever becomes ready from now on is new.
    pub fn settle(&mut self) {
        self.phase = Phase::Running;
    }

    /// Nobody looks for now; what is ready when somebody does again was ready before.
    pub fn pause(&mut self) {
        self.phase = Phase::First;
    }
}

#[cfg(test)]
mod tests;
