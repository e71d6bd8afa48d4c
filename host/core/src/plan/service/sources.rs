//! Which sources may connect to a virtual server, if a policy limits them.

use ipnet::IpNet;

use crate::decision::{SourceAction, SourceFilter, VipKinds};
use crate::net::{Family, overlap};
use crate::wants::Sources;

/// Combines the filters for a family's VIPs of these kinds. If one address has several kinds, the filters of each
/// kind apply.
pub(super) fn of(filters: &[SourceFilter], kinds: VipKinds, family: Family) -> Sources {
    let mut sources = Sources::default();
    let holds = |filter: &&SourceFilter| filter.kinds.common(kinds) != VipKinds::default();
    for filter in filters.iter().filter(holds) {
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
    // The kernel's sets cannot contain a network that covers everything.
    let everything = |nets: &[IpNet]| nets.iter().any(|net| net.prefix_len() == 0);
    if everything(&sources.denied) {
        return Sources { allowed: Some(Vec::new()), denied: Vec::new() };
    }
    sources.allowed = sources.allowed.filter(|nets| !everything(nets));
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::VipKind;
    use crate::state::{Scheduling, Server, VirtualServer};
    use crate::wants::{Want, Wants};

    fn filter(action: SourceAction, kinds: &[VipKind], ranges: &[&str]) -> SourceFilter {
        let ranges = ranges.iter().map(|net| net.parse().unwrap()).collect();
        SourceFilter { kinds: kinds.iter().copied().collect(), action, ranges }
    }

    /// The entries for an address that is both a cluster IP and an external IP.
    fn entries(filters: &[SourceFilter], family: Family) -> Vec<String> {
        let kinds = [VipKind::Cluster, VipKind::External].into_iter().collect();
        let ip = match family {
            Family::V4 => "10.96.0.1",
            Family::V6 => "fd00::1",
        };
        let server = VirtualServer::new(crate::net::Protocol::Tcp, ip.parse().unwrap(), 80);
        let mut want = Want::new(Server::new(Scheduling {
            scheduler: "rr".to_owned(),
            flags: Default::default(),
            persistence: None,
        }));
        want.limits_mut().sources = of(filters, kinds, family);
        let wants = Wants { servers: [(server, want)].into_iter().collect(), ..Wants::default() };
        wants.state().entries.keys().map(|(name, entry)| format!("{name} {entry}")).collect()
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
        // Without a network of a family, a list of allowed networks admits no source of that family, and a list of
        // denied networks denies none.
        assert_eq!(entries(std::slice::from_ref(&a), Family::V6), ["WEIR-6-SOURCE-LIMITED fd00::1,tcp:80"]);
        assert_eq!(of(&[a], [Cluster].into_iter().collect(), Family::V6).allowed, Some(Vec::new()));
        assert_eq!(entries(&[filter(Deny, &[Cluster], &["10.0.0.0/8"])], Family::V6), [""; 0]);
    }

    #[test]
    fn a_network_of_everything_limits_nothing() {
        assert_eq!(entries(&[filter(Allow, &[Cluster], &["0.0.0.0/0", "10.0.0.0/8"])], Family::V4), [""; 0]);
    }
}
