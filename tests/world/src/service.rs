//! Generated Services.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;
use weir_core::net::{Family, PerFamily};
use weir_core::objects::{Attributes, PROXY_NAME_LABEL, Service, ServicePort, ServiceType, TrafficPolicy};

use super::{MEETING, Pool, address_of, port_name, protocol, service_name, weighted_option, words};

/// Generates a Service.
pub(crate) fn service(pool: &'static Pool) -> impl Strategy<Value = Service> {
    let identity =
        (service_name(pool), prop::option::of(0..3i64), prop::bool::weighted(0.04), service_type());
    let vips = (cluster_ips(), external_ips(pool), load_balancer_ips(pool));
    let traffic = (policy(), policy(), affinity(pool), ranges(pool), weighted_option(0.4, 32_000..32_003u16));
    (identity, vips, ports(pool), traffic).prop_map(
        |((name, created, elsewhere, service_type), (families, external_ips, lb), ports, traffic)| {
            let (internal_policy, external_policy, client_ip_affinity, source_ranges, health) = traffic;
            let labels = if elsewhere {
                [(PROXY_NAME_LABEL.to_owned(), String::new())].into()
            } else {
                Attributes::new()
            };
            let mut service = Service {
                cluster_ips: families.of(pool.index(&name)),
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
            };
            pool.settle_service(&mut service);
            service
        },
    )
}

/// The cluster IPs of a service.
#[derive(Clone, Copy, Debug)]
struct ClusterIps {
    v4: bool,
    v6: bool,
    /// The index of another service whose addresses this one has, as after restoring a backup.
    stolen: Option<u8>,
    /// An address outside the service network, as a manifest may have it.
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
    let unusable = weighted_option(0.04, address_of(MEETING.unusable));
    (prop::bool::weighted(0.85), prop::bool::weighted(0.6), weighted_option(0.05, 0..6u8), unusable)
        .prop_map(|(v4, v6, stolen, unusable)| ClusterIps { v4, v6, stolen, unusable })
}

pub(super) fn service_type() -> impl Strategy<Value = ServiceType> {
    prop_oneof![
        4 => Just(ServiceType::ClusterIp),
        3 => Just(ServiceType::NodePort),
        4 => Just(ServiceType::LoadBalancer),
        1 => Just(ServiceType::ExternalName),
    ]
}

pub(super) fn external_ips(pool: &'static Pool) -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(vip(pool.external, pool), 0..3)
}

pub(super) fn load_balancer_ips(pool: &'static Pool) -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(vip(pool.load_balancer, pool), 0..3)
}

fn vip(usual: &'static str, pool: &Pool) -> impl Strategy<Value = IpAddr> {
    let unusable = if pool.unusable.is_empty() { usual } else { pool.unusable };
    prop_oneof![9 => address_of(usual), 1 => address_of(unusable)]
}

pub(super) fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![2 => Just(TrafficPolicy::Cluster), 1 => Just(TrafficPolicy::Local)]
}

pub(super) fn affinity(pool: &'static Pool) -> impl Strategy<Value = Option<u32>> {
    weighted_option(0.25, select(pool.affinities))
}

pub(super) fn ranges(pool: &'static Pool) -> impl Strategy<Value = Vec<IpNet>> {
    let range = select(words(pool.ranges)).prop_map(|text| text.parse().expect("a valid network"));
    prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(range, 1..4)]
}

pub(super) fn ports(pool: &'static Pool) -> impl Strategy<Value = Vec<ServicePort>> {
    prop::collection::vec(port(pool), pool.fewest_ports..4)
}

pub(super) fn port(pool: &'static Pool) -> impl Strategy<Value = ServicePort> {
    let node_port = weighted_option(0.4, 30_000..30_004u16);
    (port_name(pool), protocol(), select(pool.ports), node_port).prop_map(
        |(name, protocol, port, node_port)| ServicePort {
            name,
            protocol,
            port,
            node_port: node_port.and_then(NonZeroU16::new),
            app_protocol: String::new(),
        },
    )
}
