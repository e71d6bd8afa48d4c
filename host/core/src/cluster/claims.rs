//! The addresses and port numbers claimed by services, so that a change replans only what it affects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::decision::VipKind;
use crate::net::{Family, Protocol, unusable};
use crate::objects::{ObjectName, Service};

type Names = BTreeSet<ObjectName>;

/// A port number of one protocol, as matched by the node port rules of a family.
pub type NodePort = (Family, Protocol, u16);

/// The claims of all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The services with each VIP, sorted; mostly one service each.
    vips: BTreeMap<(VipKind, IpAddr), Vec<ObjectName>>,
    /// The ports of cluster IPs.
    ports: BTreeMap<(Protocol, u16), Names>,
    /// The node ports whose traffic is masqueraded by port number, whatever the address.
    node_ports: BTreeMap<NodePort, Names>,
}

impl Claims {
    /// Replaces the claims of a service's old version with those of its new one.
    pub(super) fn replace(&mut self, old: Option<&Service>, new: Option<&Service>) {
        if let Some(service) = old {
            for key in vips(service) {
                if let Some(names) = self.vips.get_mut(&key) {
                    names.retain(|name| *name != service.name);
                    if names.is_empty() {
                        self.vips.remove(&key);
                    }
                }
            }
            ports(service).for_each(|key| remove(&mut self.ports, key, &service.name));
            node_ports(service).for_each(|key| remove(&mut self.node_ports, key, &service.name));
        }
        if let Some(service) = new {
            for key in vips(service) {
                let names = self.vips.entry(key).or_insert_with(|| Vec::with_capacity(1));
                if let Err(place) = names.binary_search(&service.name) {
                    names.insert(place, service.name.clone());
                }
            }
            ports(service).for_each(|key| insert(&mut self.ports, key, &service.name));
            node_ports(service).for_each(|key| insert(&mut self.node_ports, key, &service.name));
        }
    }

    /// Whether the address is a VIP of some service.
    pub fn is_vip(&self, ip: IpAddr) -> bool {
        VipKind::ALL.into_iter().any(|kind| self.vips.contains_key(&(kind, ip)))
    }

    /// The addresses that are VIPs of a kind, sorted.
    pub fn vips(&self, kind: VipKind) -> impl Iterator<Item = IpAddr> {
        let all = (kind, Ipv4Addr::UNSPECIFIED.into())..=(kind, Ipv6Addr::from([u8::MAX; 16]).into());
        self.vips.range(all).map(|((_, ip), _)| *ip)
    }

    /// The services with the address as a VIP of a kind.
    pub fn services_at(&self, kind: VipKind, ip: IpAddr) -> impl Iterator<Item = &ObjectName> {
        self.vips.get(&(kind, ip)).into_iter().flatten()
    }

    /// The first cluster IP inside a network, with the first service that has it.
    pub fn cluster_ip_in(&self, net: &IpNet) -> Option<(IpAddr, &ObjectName)> {
        let inside = (VipKind::Cluster, net.network())..=(VipKind::Cluster, net.broadcast());
        let ((_, ip), names) = self.vips.range(inside).next()?;
        Some((*ip, names.first()?))
    }

    /// The services with this port at their cluster IPs.
    pub fn services_with_port(&self, port: (Protocol, u16)) -> impl Iterator<Item = &ObjectName> {
        self.ports.get(&port).into_iter().flatten()
    }

    /// The first service with this node port, if packets to it are masqueraded at any local address.
    pub fn node_port(&self, port: NodePort) -> Option<&ObjectName> {
        self.node_ports.get(&port)?.first()
    }
}

fn insert<K: Ord>(map: &mut BTreeMap<K, Names>, key: K, name: &ObjectName) {
    map.entry(key).or_default().insert(name.clone());
}

fn remove<K: Ord>(map: &mut BTreeMap<K, Names>, key: K, name: &ObjectName) {
    if let Some(names) = map.get_mut(&key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(&key);
        }
    }
}

/// The VIPs of a service, without addresses that no service may have.
pub(crate) fn vips(service: &Service) -> impl Iterator<Item = (VipKind, IpAddr)> {
    service.vips().filter(|(_, ip)| unusable(*ip).is_none())
}

fn ports(service: &Service) -> impl Iterator<Item = (Protocol, u16)> {
    service.ports.iter().map(|port| (port.protocol, port.port))
}

/// The node ports of a service that are masqueraded by port number. SCTP is left out because its sets also contain
/// addresses, and services with a Local external policy because their traffic is not masqueraded.
pub(crate) fn node_ports(service: &Service) -> impl Iterator<Item = NodePort> {
    let masqueraded = !service.external_policy_is_local(|ip| unusable(ip).is_none());
    let families =
        Family::BOTH.into_iter().filter(move |f| masqueraded && service.cluster_ips.get(*f).is_some());
    families.flat_map(move |family| {
        let ports = service.ports.iter().filter(|port| port.protocol != Protocol::Sctp);
        ports.filter_map(move |port| Some((family, port.protocol, port.node_port?.get())))
    })
}
