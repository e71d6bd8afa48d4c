//! The values from which random objects are generated.

use std::net::IpAddr;
use std::num::NonZeroU16;

use weir_core::net::Family;
use weir_core::objects::{
    Conditions, EndpointSlice, Node, NodeAddressType, ObjectName, Service, ServicePort, ZONE_LABEL,
};

use crate::NODE;
use crate::build::{ip, object_name};

/// The names, addresses and numbers from which objects are generated. Lists are texts with spaces between the items.
#[derive(Debug)]
pub struct Pool {
    /// Whether an API server accepts all objects, and no two objects claim the same values: each Service has its own
    /// cluster IPs and ports, and an endpoint's address determines its node.
    apart: bool,
    pub(crate) services: &'static str,
    pub(crate) external: &'static str,
    pub(crate) load_balancer: &'static str,
    /// Addresses that no service may have; the last but one is forbidden only if the node is in its network.
    pub(crate) unusable: &'static str,
    pub(crate) ranges: &'static str,
    pub(crate) affinities: &'static [u32],
    pub(crate) port_names: &'static [&'static str],
    pub(crate) fewest_ports: usize,
    pub(crate) ports: &'static [u16],
    pub(crate) target_ports: &'static [u16],
    /// The node's address that can also be the address of an endpoint.
    node: [u8; 4],
    /// The first segments of the pods' IPv6 addresses; the next segment is the number of the pod network.
    pods: &'static [u16],
    /// The host numbers of endpoints are below this.
    pub(crate) hosts: u8,
    /// The most zones or nodes in the hints of an endpoint.
    pub(crate) hints: usize,
}

/// Few names, addresses and ports, so that objects interact in every way; some of them no API server accepts.
pub static MEETING: Pool = Pool {
    apart: false,
    services: "default/kubernetes default/web default/dns shop/web shop/cart shop/game",
    external: "198.51.100.1 198.51.100.2 2001:db8:1::1 2001:db8:1::2 192.0.2.10 2001:db8::10",
    load_balancer: "203.0.113.1 203.0.113.2 198.51.100.1 2001:db8:2::1 2001:db8:1::1 192.0.2.11",
    unusable: "127.0.0.1 0.0.0.0 0.9.9.9 169.254.169.254 224.0.0.1 255.255.255.255 ::1 :: fe80::7 ff02::1 \
               ::ffff:127.0.0.1 192.0.2.255 ::ffff:203.0.113.1",
    ranges: "10.0.0.0/8 192.0.2.0/24 192.0.2.10/32 203.0.113.128/25 0.0.0.0/0 fd00::/8 2001:db8::/32 ::/0",
    affinities: &[1, 60, 10_800, 86_400, 0, u32::MAX],
    port_names: &["", "http", "dns"],
    fewest_ports: 0,
    ports: &[53, 80, 443, 30_001],
    target_ports: &[53, 8080, 8443],
    node: [192, 0, 2, 10],
    pods: &[0xfd00, 0x244, 0, 0, 0, 0],
    hosts: 5,
    hints: 1,
};

/// Objects for a real API server and the guest's node.
pub static APART: Pool = Pool {
    apart: true,
    services: "default/s0 shop/s1 default/s2 shop/s3 default/s4 shop/s5 default/s6 shop/s7 default/s8 shop/s9",
    external: "198.51.100.1 198.51.100.2 10.0.2.15 2001:db8:1::1 2001:db8:1::2",
    load_balancer: "203.0.113.1 203.0.113.2 2001:db8:2::1 2001:db8:2::2",
    unusable: "",
    ranges: "10.0.0.0/8 10.0.2.0/24 10.0.2.15/32 192.0.2.0/24 0.0.0.0/0 fd00::/8 fec0::15/128 2001:db8::/32 ::/0",
    affinities: &[1, 120, 10_800, 86_400],
    port_names: &["p0", "p1", "p2", "p3", "p4"],
    fewest_ports: 1,
    // Only the last digit of a port counts, because each Service has its own ten port numbers.
    ports: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    target_ports: &[8000, 8001, 8100],
    node: [10, 0, 2, 15],
    pods: &[0xfd00, 0x10, 0x244],
    hosts: 7,
    hints: 2,
};

/// The words of a list.
pub(crate) fn words(list: &'static str) -> Vec<&'static str> {
    list.split_whitespace().collect()
}

/// The number of port numbers that only one Service has.
const OWN_PORTS: u16 = 10;

impl Pool {
    /// The address of a host in one of the pods' networks.
    pub(crate) fn pod(&self, family: Family, net: u8, host: u8) -> IpAddr {
        match family {
            // An endpoint with the node's own address, as in the host network.
            Family::V4 if (net, host) == (0, self.hosts - 1) => IpAddr::from(self.node),
            Family::V4 => IpAddr::from([10, 244, net, host]),
            Family::V6 => {
                let mut segments = [0; 8];
                segments[..self.pods.len()].copy_from_slice(self.pods);
                segments[self.pods.len()] = net.into();
                segments[7] = host.into();
                IpAddr::from(segments)
            }
        }
    }

    /// The position of a service's name among all names.
    pub(crate) fn index(&self, name: &ObjectName) -> u8 {
        let at = words(self.services).iter().position(|other| *other == name.to_string());
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default()
    }

    /// The name of a slice. If `apart` is set, it contains the Service and the family, because neither can change.
    pub(crate) fn slice_name(&self, drawn: &ObjectName, service: &str, family: Family) -> ObjectName {
        let own = words(self.services).into_iter().map(object_name).find(|own| own.name == service);
        let Some(own) = own.filter(|_| self.apart) else { return drawn.clone() };
        let number = drawn.name.trim_start_matches("slice-");
        ObjectName::new(own.namespace, format!("{service}-{family}-{number}").to_lowercase())
    }

    /// Gives a Service its own cluster IPs and ports, if `apart` is set.
    pub(crate) fn settle_service(&self, service: &mut Service) {
        if !self.apart {
            return;
        }
        let index = u16::from(self.index(&service.name));
        let (v4, v6) = (&mut service.cluster_ips.v4, &mut service.cluster_ips.v6);
        *v4 = v4.map(|_| [10, 96, 10, index as u8 + 1].into());
        *v6 = v6.map(|_| [0xfd00, 0x96, 0, 0, 0, 0, 0, 0xa01 + index].into());
        distinct(&mut service.external_ips, |ip| *ip);
        distinct(&mut service.load_balancer_ips, |ip| *ip);
        distinct(&mut service.source_ranges, |range| *range);
        service.health_check_node_port = NonZeroU16::new(32_000 + index);
        for port in &mut service.ports {
            let offset = index * OWN_PORTS + port.port % OWN_PORTS;
            port.port = 1000 + offset;
            port.node_port = NonZeroU16::new(30_000 + offset);
        }
        // The last port wins, so that an added port replaces the ports that it conflicts with.
        service.ports.reverse();
        distinct(&mut service.ports, |port: &ServicePort| port.name.clone());
        distinct(&mut service.ports, |port: &ServicePort| port.port);
        service.ports.reverse();
    }

    /// Gives endpoints the node that their address belongs to, if `apart` is set.
    pub(crate) fn settle_slice(&self, slice: &mut EndpointSlice) {
        if !self.apart {
            return;
        }
        distinct(&mut slice.ports, |port| port.name.clone());
        slice.endpoints.retain(|endpoint| Family::of(endpoint.address) == slice.family);
        distinct(&mut slice.endpoints, |endpoint| endpoint.address);
        for endpoint in &mut slice.endpoints {
            let is_here = (1..self.hosts).any(|host| self.pod(slice.family, 0, host) == endpoint.address);
            let is_placed = is_here || endpoint.node.is_some();
            let (node, zone) = if is_here { (NODE, "a") } else { ("node2", "b") };
            endpoint.node = is_placed.then(|| node.into());
            endpoint.zone = is_placed.then(|| zone.into());
            // Controllers never mark a terminating endpoint as ready.
            if endpoint.conditions.ready {
                endpoint.conditions = Conditions::READY;
            }
            if let Some(hints) = endpoint.hints.as_mut().map(std::sync::Arc::make_mut) {
                distinct(&mut hints.zones, Clone::clone);
                distinct(&mut hints.nodes, Clone::clone);
            }
        }
    }

    /// Gives the node the guest's addresses, if `apart` is set.
    pub(crate) fn settle_node(&self, node: &mut Node) {
        if !self.apart {
            return;
        }
        node.labels.retain(|label, _| label == ZONE_LABEL);
        node.labels.insert("kubernetes.io/hostname".to_owned(), NODE.to_owned());
        node.addresses =
            vec![(NodeAddressType::Internal, self.node.into()), (NodeAddressType::Internal, ip("fec0::15"))];
        node.pod_cidrs =
            ["10.244.0.0/24", "fd00:10:244::/64"].map(|net| net.parse().expect("a valid network")).to_vec();
    }
}

/// Keeps only the first value of each key.
fn distinct<T, K: PartialEq>(all: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = Vec::new();
    all.retain(|one| {
        let key = key(one);
        let is_new = !seen.contains(&key);
        seen.push(key);
        is_new
    });
}
