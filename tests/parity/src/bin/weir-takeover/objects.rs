//! The Services of the node that is handed over: every kind of VIP, protocol and policy, none in which the two programs
//! differ.

use serde_json::json;
use weir_core::net::Protocol::{Sctp, Tcp, Udp};
use weir_harness::cluster::{Cluster, Service};

/// The port of all VIPs but the node's own addresses.
pub(crate) const PORT: u16 = 80;

/// Cluster IPs only.
pub(crate) const INTERNAL: u8 = 20;
/// Every kind of VIP.
pub(crate) const EXPOSED: u8 = 21;
/// With session affinity.
pub(crate) const STICKY: u8 = 22;

/// With both traffic policies Local.
pub(crate) const LOCAL: u8 = 23;
const LIMITED: u8 = 24;

/// Those that [`node_port`] is for.
pub(crate) const WITH_NODE_PORTS: [u8; 3] = [EXPOSED, LOCAL, LIMITED];

/// The node port of a service.
pub(crate) fn node_port(number: u8) -> u16 {
    30000 + u16::from(number)
}

/// A service without endpoints.
fn bare(name: &str, number: u8) -> Service {
    Service::new(name, number)
}

fn exposed(name: &str, number: u8) -> Service {
    let ports = [Tcp, Udp, Sctp].into_iter();
    let service =
        ports.fold(bare(name, number), |s, protocol| s.with_node_port(protocol, PORT, node_port(number)));
    service.with_external_ip().with_load_balancer()
}

/// The service that [`EXPOSED`] numbers, without endpoints: to know its addresses.
pub(crate) fn exposed_service() -> Service {
    exposed("exposed", EXPOSED)
}

/// The service that [`INTERNAL`] numbers, without endpoints.
pub(crate) fn internal_service() -> Service {
    [Tcp, Udp, Sctp].into_iter().fold(bare("internal", INTERNAL), |s, protocol| s.with_port(protocol, PORT))
}

/// All of them.
pub(crate) fn services(cluster: &Cluster) -> Vec<Service> {
    let pods = |names: &[&str]| names.iter().map(|name| cluster.endpoint(name)).collect::<Vec<_>>();
    let all = || pods(&["web-1", "web-2", "far-1"]);
    let sticky = bare("sticky", STICKY)
        .with_port(Tcp, PORT)
        .with_port(Udp, PORT)
        .with("sessionAffinity", json!("ClientIP"))
        .with("sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": 600 } }));
    let local = exposed("local", LOCAL)
        .with("externalTrafficPolicy", json!("Local"))
        .with("internalTrafficPolicy", json!("Local"))
        .with("healthCheckNodePort", json!(31023));
    let ranges = ["10.0.2.0/24", "10.244.0.0/16", "fd00:10:2::/64"];
    let limited = exposed("limited", LIMITED).with("loadBalancerSourceRanges", json!(ranges));
    let empty = bare("empty", 25).with_port(Tcp, PORT);
    vec![
        internal_service().with_endpoints(all()),
        exposed_service().with_endpoints(all()),
        sticky.with_endpoints(all()),
        local.with_endpoints(all()),
        limited.with_endpoints(pods(&["web-1"])),
        empty.with_endpoints([]),
    ]
}
