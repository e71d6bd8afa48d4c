//! Who may connect to a virtual server, where a policy limits it.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::decision::{SourceAction, SourceFilter, VipKind};
use crate::net::{Family, overlap};
use crate::set::{Set, SetEntry, SetName};
use crate::state::{KernelState, VirtualServer};

/// The sources that may connect, and those that may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// Nobody else may connect; `None` = all others may.
    allowed: Option<Vec<IpNet>>,
    denied: Vec<IpNet>,
}

impl Sources {
    /// What the filters make of a family's VIPs that are of these kinds. One address may be of several kinds, and then
    /// the filters of each hold.
    pub(super) fn of(filters: &[SourceFilter], kinds: &BTreeSet<VipKind>, family: Family) -> Sources {
        let mut sources = Sources::default();
        for filter in filters.iter().filter(|filter| !filter.kinds.is_disjoint(kinds)) {
            let of_family = filter.ranges.iter().filter(|net| Family::of_net(net) == family);
            match filter.action {
                SourceAction::Deny => sources.denied.extend(of_family),
                SourceAction::Allow => {
                    let ranges: Vec<IpNet> = of_family.copied().collect();
                    let both = sources.allowed.map_or(ranges.clone(), |earlier| overlap(&earlier, &ranges));
                    sources.allowed = Some(both);
                }
            }
        }
        // The kernel's sets hold no network of everything.
        let everything = |nets: &[IpNet]| nets.iter().any(|net| net.prefix_len() == 0);
        if everything(&sources.denied) {
            return Sources { allowed: Some(Vec::new()), denied: Vec::new() };
        }
        sources.allowed = sources.allowed.filter(|nets| !everything(nets));
        sources
    }

    /// Whether nobody may connect.
    pub(super) fn is_nobody(&self) -> bool {
        self.allowed.as_ref().is_some_and(Vec::is_empty)
    }

    /// Adds the entries that say so.
    pub(super) fn add_to(&self, state: &mut KernelState, server: VirtualServer) {
        let (ip, protocol, port) = (server.address.ip(), server.protocol, server.address.port());
        let mut entry = |set, entry| {
            state.entries.insert((SetName::new(server.family(), set), entry), ());
        };
        for net in &self.denied {
            entry(Set::SourceDeny, SetEntry::IpPortNet(ip, protocol, port, *net));
        }
        if let Some(allowed) = &self.allowed {
            entry(Set::SourceLimited, SetEntry::IpPort(ip, protocol, port));
            for net in allowed {
                entry(Set::SourceAllow, SetEntry::IpPortNet(ip, protocol, port, *net));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(action: SourceAction, kinds: &[VipKind], ranges: &[&str]) -> SourceFilter {
        let ranges = ranges.iter().map(|net| net.parse().unwrap()).collect();
        SourceFilter { kinds: kinds.iter().copied().collect(), action, ranges }
    }

    /// The entries for a cluster IP and an external IP that are one address.
    fn entries(filters: &[SourceFilter], family: Family) -> Vec<String> {
        let kinds = BTreeSet::from([VipKind::Cluster, VipKind::External]);
        let ip = match family {
            Family::V4 => "10.96.0.1",
            Family::V6 => "fd00::1",
        };
        let server = VirtualServer::new(crate::net::Protocol::Tcp, ip.parse().unwrap(), 80);
        let mut state = KernelState::default();
        Sources::of(filters, &kinds, family).add_to(&mut state, server);
        state.entries.keys().map(|(name, entry)| format!("{name} {entry}")).collect()
    }

    use SourceAction::{Allow, Deny};
    use VipKind::{Cluster, External, NodePort};

    #[test]
    fn a_source_must_be_allowed_by_each_filter() {
        let cluster = filter(Allow, &[Cluster], &["10.0.0.0/8", "192.0.2.0/24"]);
        let external = filter(Allow, &[External], &["10.1.0.0/16", "198.51.100.0/24"]);
        let other = filter(Allow, &[NodePort], &["203.0.113.0/24"]);
        assert_eq!(
            entries(&[cluster, external, other], Family::V4),
            ["WEIR-SOURCE-LIMITED 10.96.0.1,tcp:80", "WEIR-SOURCE-ALLOW 10.96.0.1,tcp:80,10.1.0.0/16"]
        );
    }

    #[test]
    fn lists_without_a_common_network_close() {
        let a = filter(Allow, &[Cluster], &["10.0.0.0/8"]);
        let b = filter(Allow, &[Cluster], &["192.0.2.0/24"]);
        let closed = ["WEIR-SOURCE-LIMITED 10.96.0.1,tcp:80"];
        assert_eq!(entries(&[a.clone(), b], Family::V4), closed);
        assert_eq!(entries(&[filter(Allow, &[Cluster], &[])], Family::V4), closed);
        assert_eq!(entries(&[filter(Deny, &[Cluster], &["0.0.0.0/0"])], Family::V4), closed);
        // A list that names no network of a family admits nobody of it; one that denies none denies nobody.
        assert_eq!(entries(std::slice::from_ref(&a), Family::V6), ["WEIR-6-SOURCE-LIMITED fd00::1,tcp:80"]);
        assert!(Sources::of(&[a], &[Cluster].into(), Family::V6).is_nobody());
        assert_eq!(entries(&[filter(Deny, &[Cluster], &["10.0.0.0/8"])], Family::V6), [""; 0]);
    }

    #[test]
    fn a_network_of_everything_limits_nothing() {
        assert_eq!(entries(&[filter(Allow, &[Cluster], &["0.0.0.0/0", "10.0.0.0/8"])], Family::V4), [""; 0]);
    }
}
