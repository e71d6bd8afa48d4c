//! Health check ports: which services of type LoadBalancer with external traffic policy Local have endpoints on this
//! node.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::header::{HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use weir_core::net::{Family, PerFamily};
use weir_core::objects::ObjectName;
use weir_core::standing::HealthCheck;

use crate::connections::Connections;
use crate::health::Health;
use crate::http::{ContentType, Handler, available, plain_answer, with};
use crate::listen::{BindError, Reach, bind, hang_up};

/// The number of local endpoints, by which load balancers can weight nodes (KEP-2086).
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The addresses on which health check ports are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListenAddresses {
    /// On all addresses.
    #[default]
    All,
    /// On these addresses, selected by `nodePortAddresses`. They may change at any time.
    Only(BTreeSet<IpAddr>),
}

impl ListenAddresses {
    fn of(&self, family: Family) -> BTreeSet<IpAddr> {
        match (self, family) {
            (ListenAddresses::All, Family::V4) => [Ipv4Addr::UNSPECIFIED.into()].into(),
            (ListenAddresses::All, Family::V6) => [Ipv6Addr::UNSPECIFIED.into()].into(),
            (ListenAddresses::Only(addresses), _) => {
                addresses.iter().copied().filter(|address| Family::of(*address) == family).collect()
            }
        }
    }
}

/// A health check that is not served in one family because an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("the health check port of service {service} is not served over {family}")]
pub struct PortFailure {
    /// The service.
    pub service: ObjectName,
    /// The family.
    pub family: Family,
    /// The first address that failed, and why.
    #[source]
    pub source: BindError,
}

/// The open health check ports. They belong to the sync thread; the server's thread answers requests.
pub struct HealthCheckPorts {
    runtime: Handle,
    connections: Connections,
    health: Health,
    open: BTreeMap<(ObjectName, Family), Port>,
}

/// The sockets of one service in one family.
struct Port {
    wanted: u16,
    endpoints: Arc<AtomicUsize>,
    listeners: BTreeMap<IpAddr, Listener>,
}

impl HealthCheckPorts {
    pub(crate) fn new(runtime: Handle, connections: Connections, health: Health) -> HealthCheckPorts {
        HealthCheckPorts { runtime, connections, health, open: BTreeMap::new() }
    }

    /// Sets the services whose health checks are served: closes and opens ports, and updates the counts. Unchanged
    /// ports are not interrupted. If an address cannot be bound, the service's health check is not served on any
    /// address of that family, and the failure is returned; the next call retries.
    pub fn sync(
        &mut self,
        addresses: &ListenAddresses,
        wanted: &BTreeMap<ObjectName, HealthCheck>,
    ) -> Vec<PortFailure> {
        let addresses = PerFamily { v4: addresses.of(Family::V4), v6: addresses.of(Family::V6) };
        // Close first, because new services may need the same port.
        self.open.retain(|(name, family), port| {
            let stays = wanted.get(name).is_some_and(|check| {
                check.port == port.wanted && check.local_endpoints.get(*family).is_some()
            });
            if stays {
                port.listeners.retain(|address, _| addresses.get(*family).contains(address));
            }
            stays
        });
        let mut failures = Vec::new();
        for (name, check) in wanted {
            for family in Family::BOTH {
                let Some(count) = *check.local_endpoints.get(family) else { continue };
                let addresses = addresses.get(family);
                if let Err(source) = self.open(name, family, check.port, addresses, count) {
                    self.open.remove(&(name.clone(), family));
                    failures.push(PortFailure { service: name.clone(), family, source });
                }
            }
        }
        failures
    }

    /// The addresses on which a service's health check is served, IPv4 first.
    pub fn addresses(&self, service: &ObjectName) -> Vec<SocketAddr> {
        let ports = Family::BOTH.into_iter().filter_map(|family| self.open.get(&(service.clone(), family)));
        ports.flat_map(|port| port.listeners.values().map(|listener| listener.address)).collect()
    }

    fn open(
        &mut self,
        name: &ObjectName,
        family: Family,
        wanted: u16,
        addresses: &BTreeSet<IpAddr>,
        count: usize,
    ) -> Result<(), BindError> {
        let port = self.open.entry((name.clone(), family)).or_insert_with(|| Port {
            wanted,
            endpoints: Arc::default(),
            listeners: BTreeMap::new(),
        });
        port.endpoints.store(count, Ordering::Relaxed);
        for address in addresses
            .iter()
            .filter(|address| !port.listeners.contains_key(address))
            .copied()
            .collect::<Vec<_>>()
        {
            let handler = answers(name.clone(), Arc::clone(&port.endpoints), self.health.clone());
            let listener =
                Listener::open(&self.runtime, (address, wanted).into(), &self.connections, handler)?;
            port.listeners.insert(address, listener);
        }
        Ok(())
    }
}

/// The same answer to every path and method.
fn answers(service: ObjectName, endpoints: Arc<AtomicUsize>, health: Health) -> Handler {
    Arc::new(move |_| {
        let (count, healthy) = (endpoints.load(Ordering::Relaxed), health.is_healthy());
        let status = available(count > 0 && healthy);
        let response = plain_answer(status, ContentType::Json, body(&service, count, healthy));
        with(response, WEIGHT, HeaderValue::from(count))
    })
}

/// kube-proxy's body, indented by tabs and without a final newline.
fn body(service: &ObjectName, endpoints: usize, healthy: bool) -> String {
    // Names are DNS labels and need no escaping.
    let ObjectName { namespace, name } = service;
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
         \t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    )
}

/// A socket and the task that accepts its connections; both end when it is dropped.
struct Listener {
    /// A second handle to the task's socket: the task ends a little later, but the port may be needed at once.
    socket: TcpListener,
    address: SocketAddr,
    task: AbortHandle,
}

impl Listener {
    fn open(
        runtime: &Handle,
        address: SocketAddr,
        connections: &Connections,
        handler: Handler,
    ) -> Result<Listener, BindError> {
        let socket = bind(address, Reach::OneFamily)?;
        let start = || -> io::Result<Listener> {
            // The runtime's reactor needs to register the socket; the caller's thread has no runtime.
            let _inside = runtime.enter();
            let bound = socket.local_addr()?;
            let shared = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
            let task = runtime.spawn(connections.clone().serve(shared, handler)).abort_handle();
            Ok(Listener { socket, address: bound, task })
        };
        start().map_err(|source| BindError { address, source })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        hang_up(&self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_kube_proxys() {
        let service = ObjectName::new("shop", "web");
        assert_eq!(
            body(&service, 3, true),
            "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": true\n}"
        );
        assert!(
            body(&service, 0, false).ends_with("\"localEndpoints\": 0,\n\t\"serviceProxyHealthy\": false\n}")
        );
    }
}
