//! What must be true of sets and their entries.

use super::{Check, Violation};
use crate::net::{Family, Protocol};
use crate::set::{Set, SetEntry, SetKind, SetName};
use crate::state::VirtualServer;

impl Check<'_> {
    pub(super) fn sets(&mut self) {
        for (name, kind) in &self.state.sets {
            if !name.kind().swaps_with(kind) {
                self.found.push(Violation::OddSet(*name, kind.clone()));
            }
            if let SetKind::Hash { max_elements, .. } = kind {
                let count = self.state.entries_of(*name).count();
                if count > *max_elements as usize {
                    self.found.push(Violation::FullSet(*name, count, *max_elements));
                }
            }
        }
    }

    pub(super) fn entries(&mut self) {
        for (name, entry) in self.state.entries.keys() {
            if !self.state.sets.contains_key(name) {
                self.found.push(Violation::NoSet(*name, *entry));
            }
            if !fits(*name, *entry) {
                self.found.push(Violation::OddEntry(*name, *entry));
                continue;
            }
            if !self.is_served(*name, *entry) {
                self.found.push(Violation::Unserved(*name, *entry));
            }
            if let Some((set, vip)) = companion(*name, *entry) {
                let beside = SetName::new(name.family, set);
                if !self.state.entries.contains_key(&(beside, vip)) {
                    self.found.push(Violation::Alone(*name, *entry, beside));
                }
            }
        }
    }

    /// Whether a virtual server has what the entry says is a VIP or a node port.
    fn is_served(&self, name: SetName, entry: SetEntry) -> bool {
        let listens = |protocol| match entry {
            SetEntry::Port(port) => self.ports.contains(&(name.family, protocol, port)),
            _ => false,
        };
        match name.set {
            Set::ClusterIp
            | Set::ExternalIp
            | Set::ExternalIpLocal
            | Set::LoadBalancer
            | Set::LoadBalancerLocal
            | Set::LoadBalancerFw
            | Set::NodePortSctp
            | Set::NodePortLocalSctp
            | Set::MasqueradeExcept
            | Set::Masquerade
            | Set::MasqueradeAlways
            | Set::MasqueradeOffCluster
            | Set::MasqueradeRemote
            | Set::Snat1
            | Set::Snat2
            | Set::SourceDeny
            | Set::SourceLimited
            | Set::SourceAllow => match entry {
                SetEntry::IpPort(ip, protocol, port) | SetEntry::IpPortNet(ip, protocol, port, _) => {
                    self.state.virtual_servers.contains_key(&VirtualServer::new(protocol, ip, port))
                }
                _ => false,
            },
            Set::NodePortTcp | Set::NodePortLocalTcp => listens(Protocol::Tcp),
            Set::NodePortUdp | Set::NodePortLocalUdp => listens(Protocol::Udp),
            // Endpoints, ports of the health check server, and addresses that are checked with the device. The
            // exceptions to source ranges are only asked for VIPs that have ranges.
            Set::LoopBack
            | Set::HealthCheckNodePort
            | Set::IpvsIps
            | Set::LoadBalancerSourceIp
            | Set::LoadBalancerSourceCidr => true,
        }
    }
}

/// Whether an entry is of its set's type, and all its addresses are of the set's family.
fn fits(name: SetName, entry: SetEntry) -> bool {
    let second = match entry {
        SetEntry::IpPortIp(.., ip) => Some(Family::of(ip)),
        SetEntry::IpPortNet(.., net) => Some(Family::of_net(&net)),
        SetEntry::Ip(_) | SetEntry::IpPort(..) | SetEntry::Port(_) => None,
    };
    entry.set_type() == name.set.set_type()
        && entry.family().into_iter().chain(second).all(|family| family == name.family)
}

/// The entry of another set without which an entry would mean nothing.
fn companion(name: SetName, entry: SetEntry) -> Option<(Set, SetEntry)> {
    let set = match name.set {
        Set::LoadBalancerLocal | Set::LoadBalancerFw => Set::LoadBalancer,
        Set::LoadBalancerSourceCidr | Set::LoadBalancerSourceIp => Set::LoadBalancerFw,
        Set::NodePortLocalTcp => Set::NodePortTcp,
        Set::NodePortLocalUdp => Set::NodePortUdp,
        Set::NodePortLocalSctp => Set::NodePortSctp,
        Set::MasqueradeAlways
        | Set::MasqueradeOffCluster
        | Set::MasqueradeRemote
        | Set::Snat1
        | Set::Snat2 => Set::Masquerade,
        Set::SourceAllow => Set::SourceLimited,
        _ => return None,
    };
    let vip = match entry {
        SetEntry::IpPortIp(ip, protocol, port, _) | SetEntry::IpPortNet(ip, protocol, port, _) => {
            SetEntry::IpPort(ip, protocol, port)
        }
        same => same,
    };
    Some((set, vip))
}
