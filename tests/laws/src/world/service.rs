//! Generated Services.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;
use weir_core::net::{Family, PerFamily};
use weir_core::objects::{Attributes, PROXY_NAME_LABEL, Service, ServicePort, ServiceType, TrafficPolicy};

use super::{SERVICES, address_of, port_name, protocol, service_name, weighted_option};

const EXTERNAL: &[&str] =
    &["198.51.100.1", "198.51.100.2", "2001:db8:1::1", "2001:db8:1::2", "192.0.2.10", "2001:db8::10"];
const LOAD_BALANCER: &[&str] =
    &["203.0.113.1", "203.0.113.2", "198.51.100.1", "2001:db8:2::1", "2001:db8:1::1", "192.0.2.11"];
/// Addresses no service may have; the last but one only if the node is in that network.
const UNUSABLE: &[&str] = &[
    "127.0.0.1",
    "0.0.0.0",
    "0.9.9.9",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::7",
    "ff02::1",
    "::ffff:127.0.0.1",
    "192.0.2.255",
    "::ffff:203.0.113.1",
];
const RANGES: &[&str] = &[
    "10.0.0.0/8",
    "192.0.2.0/24",
    "192.0.2.10/32",
    "203.0.113.128/25",
    "0.0.0.0/0",
    "fd00::/8",
    "2001:db8::/32",
    "::/0",
];

/// Generates a Service.
pub fn service() -> impl Strategy<Value = Service> {
    let identity = (service_name(), prop::option::of(0..3i64), prop::bool::weighted(0.04), service_type());
    let vips = (cluster_ips(), prop::collection::vec(vip(EXTERNAL), 0..3), load_balancer_ips());
    let traffic = (
        policy(),
        policy(),
        weighted_option(0.25, affinity()),
        ranges(),
        weighted_option(0.4, 32_000..32_003u16),
    );
    (identity, vips, prop::collection::vec(port(), 0..4), traffic).prop_map(
        |((name, created, elsewhere, service_type), (families, external_ips, lb), ports, traffic)| {
            let (internal_policy, external_policy, client_ip_affinity, source_ranges, health) = traffic;
            let index = SERVICES.iter().position(|(ns, n)| *ns == name.namespace && *n == name.name);
            let labels = if elsewhere {
                [(PROXY_NAME_LABEL.to_owned(), String::new())].into()
            } else {
                Attributes::new()
            };
            Service {
                cluster_ips: families.of(index.unwrap_or_default() as u8),
                name,
                created,
                labels,
                annotations: Attributes::new(),
                service_type,
                external_ips,
                load_balancer_ips: lb,
                ports,
                client_ip_affinity,
                internal_policy,
                external_policy,
                source_ranges,
                health_check_node_port: health.and_then(NonZeroU16::new),
            }
        },
    )
}

/// The cluster IPs of a service.
#[derive(Clone, Copy, Debug)]
struct ClusterIps {
    v4: bool,
    v6: bool,
    /// The address of another service, as after restoring a backup.
    stolen: Option<u8>,
    /// Outside the service network, as a manifest may have it.
    unusable: Option<IpAddr>,
}

impl ClusterIps {
    fn of(self, index: u8) -> PerFamily<Option<IpAddr>> {
        let host = self.stolen.unwrap_or(index) + 1;
        let mut ips = PerFamily {
            v4: self.v4.then(|| IpAddr::from([10, 96, 0, host])),
            v6: self.v6.then(|| IpAddr::from([0xfd00, 0x96, 0, 0, 0, 0, 0, u16::from(host)])),
        };
        if let Some(ip) = self.unusable {
            *ips.get_mut(Family::of(ip)) = Some(ip);
        }
        ips
    }
}

fn cluster_ips() -> impl Strategy<Value = ClusterIps> {
    let unusable = weighted_option(0.04, address_of(UNUSABLE));
    (prop::bool::weighted(0.85), prop::bool::weighted(0.6), weighted_option(0.05, 0..6u8), unusable)
        .prop_map(|(v4, v6, stolen, unusable)| ClusterIps { v4, v6, stolen, unusable })
}

fn service_type() -> impl Strategy<Value = ServiceType> {
    prop_oneof![
        4 => Just(ServiceType::ClusterIp),
        3 => Just(ServiceType::NodePort),
        4 => Just(ServiceType::LoadBalancer),
        1 => Just(ServiceType::ExternalName),
    ]
}

pub(super) fn load_balancer_ips() -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(vip(LOAD_BALANCER), 0..3)
}

fn vip(pool: &'static [&'static str]) -> impl Strategy<Value = IpAddr> {
    prop_oneof![9 => address_of(pool), 1 => address_of(UNUSABLE)]
}

pub(super) fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![2 => Just(TrafficPolicy::Cluster), 1 => Just(TrafficPolicy::Local)]
}

fn affinity() -> impl Strategy<Value = u32> {
    select(&[1, 60, 10_800, 86_400, 0, u32::MAX][..])
}

pub(super) fn ranges() -> impl Strategy<Value = Vec<IpNet>> {
    let range = select(RANGES).prop_map(|text| text.parse().expect("a valid network"));
    prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(range, 1..4)]
}

pub(super) fn port() -> impl Strategy<Value = ServicePort> {
    let node_port = weighted_option(0.4, 30_000..30_004u16);
    (port_name(), protocol(), select(&[53, 80, 443, 30_001][..]), node_port).prop_map(
        |(name, protocol, port, node_port)| ServicePort {
            name,
            protocol,
            port,
            node_port: node_port.and_then(NonZeroU16::new),
            app_protocol: String::new(),
        },
    )
}
