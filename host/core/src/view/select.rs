//! Which endpoints a port uses (kube-proxy's `CategorizeEndpoints` and how `syncEndpoint` applies it).

use super::{EndpointView, Location};
use crate::node::InternalLocal;
use crate::objects::TrafficPolicy;

/// The endpoints in use, as indexes into the port's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Behind the cluster IP.
    pub internal: Vec<usize>,
    /// Behind external IPs, load-balancer VIPs and the node port.
    pub external: Vec<usize>,
}

/// The traffic policies of a service, and the facts that determine what they mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policies {
    pub(super) internal: TrafficPolicy,
    pub(super) external: TrafficPolicy,
    pub(super) reachable: Reach,
    pub(super) internal_local: InternalLocal,
}

/// How a port can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// By its cluster IP only.
    Internal,
    /// Also by a node port, an external IP or a load-balancer VIP.
    External,
}

pub(super) fn select(
    endpoints: &[EndpointView],
    this_node: &str,
    this_zone: Option<&str>,
    policies: Policies,
) -> Selection {
    let topology = Topology::from_hints(endpoints, this_node, this_zone);
    let cluster = usable(endpoints, |endpoint| topology.admits(endpoint), |_| true);
    let local = |endpoint: &EndpointView| endpoint.location == Location::Local;
    let local = usable(endpoints, local, local);
    let choose = |policy: TrafficPolicy| match policy {
        TrafficPolicy::Local if !local.is_empty() => local.clone(),
        // Without an endpoint here, the cluster's are used: pods can then still reach the service, while traffic
        // from outside keeps its source address, so replies bypass this node (kubernetes/kubernetes#97081).
        TrafficPolicy::Local | TrafficPolicy::Cluster => cluster.clone(),
    };
    let internal = match (policies.internal, policies.reachable) {
        (TrafficPolicy::Local, Reach::Internal) => local.clone(),
        // The API promises that nothing is reached in this case; kube-proxy behaves differently.
        (TrafficPolicy::Local, Reach::External) if policies.internal_local == InternalLocal::Enforced => {
            local.clone()
        }
        (policy, _) => choose(policy),
    };
    Selection { internal, external: choose(policies.external) }
}

/// Ready endpoints in scope; without any, the terminating endpoints that still serve. There are two scopes because
/// topology narrows only the ready endpoints.
fn usable(
    endpoints: &[EndpointView],
    in_scope: impl Fn(&EndpointView) -> bool,
    in_fallback_scope: impl Fn(&EndpointView) -> bool,
) -> Vec<usize> {
    let pick = |wanted: &dyn Fn(&EndpointView) -> bool| -> Vec<usize> {
        endpoints.iter().enumerate().filter(|(_, e)| wanted(e)).map(|(i, _)| i).collect()
    };
    let ready = pick(&|e| e.conditions.ready && in_scope(e));
    if !ready.is_empty() {
        return ready;
    }
    pick(&|e| e.conditions.serving && e.conditions.terminating && in_fallback_scope(e))
}

/// The hints that apply: node hints take precedence over zone hints, and each applies only if every ready endpoint
/// has such hints and at least one endpoint's hints name this node or zone.
enum Topology<'a> {
    Anywhere,
    Node(&'a str),
    Zone(&'a str),
}

impl<'a> Topology<'a> {
    fn from_hints(
        endpoints: &[EndpointView],
        this_node: &'a str,
        this_zone: Option<&'a str>,
    ) -> Topology<'a> {
        let ready = || endpoints.iter().filter(|e| e.conditions.ready);
        if ready().all(|e| !e.node_hints().is_empty()) && ready().any(|e| named(e.node_hints(), this_node)) {
            return Topology::Node(this_node);
        }
        if let Some(zone) = this_zone
            && ready().all(|e| !e.zone_hints().is_empty())
            && ready().any(|e| named(e.zone_hints(), zone))
        {
            return Topology::Zone(zone);
        }
        Topology::Anywhere
    }

    fn admits(&self, endpoint: &EndpointView) -> bool {
        match self {
            Topology::Anywhere => true,
            Topology::Node(name) => named(endpoint.node_hints(), name),
            Topology::Zone(zone) => named(endpoint.zone_hints(), zone),
        }
    }
}

fn named(hints: &[String], name: &str) -> bool {
    hints.iter().any(|hint| hint == name)
}

impl EndpointView {
    fn zone_hints(&self) -> &[String] {
        self.hints.as_ref().map_or(&[], |hints| &hints.zones)
    }

    fn node_hints(&self) -> &[String] {
        self.hints.as_ref().map_or(&[], |hints| &hints.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Conditions, Hints};

    fn endpoint(n: u8, location: Location, conditions: Conditions) -> EndpointView {
        EndpointView {
            slice: 0,
            ready_since: None,
            address: ([10, 244, 0, n], 8080).into(),
            conditions,
            location,
            node: None,
            zone: None,
            hints: None,
        }
    }

    const DRAINING: Conditions = Conditions { ready: false, serving: true, terminating: true };
    const UNREADY: Conditions = Conditions { ready: false, serving: false, terminating: false };

    fn policies(internal: TrafficPolicy, external: TrafficPolicy, reachable: Reach) -> Policies {
        Policies { internal, external, reachable, internal_local: InternalLocal::AsUpstream }
    }

    use Location::{Local as Here, Remote as There};
    use Reach::{External, Internal};
    use TrafficPolicy::{Cluster, Local};

    fn run(endpoints: &[EndpointView], policies: Policies) -> (Vec<usize>, Vec<usize>) {
        let Selection { internal, external } = select(endpoints, "node1", Some("a"), policies);
        (internal, external)
    }

    /// The table of which endpoints serve which VIP, row by row.
    #[test]
    fn traffic_policies() {
        let both = [endpoint(1, Here, Conditions::READY), endpoint(2, There, Conditions::READY)];
        let remote = [endpoint(1, There, Conditions::READY)];
        assert_eq!(run(&both, policies(Cluster, Cluster, Internal)).0, [0, 1]);
        assert_eq!(run(&both, policies(Local, Cluster, Internal)).0, [0]);
        assert_eq!(run(&remote, policies(Local, Cluster, Internal)).0, [0usize; 0]);
        assert_eq!(run(&both, policies(Cluster, Cluster, External)), (vec![0, 1], vec![0, 1]));
        assert_eq!(run(&both, policies(Cluster, Local, External)), (vec![0, 1], vec![0]));
        assert_eq!(run(&remote, policies(Cluster, Local, External)), (vec![0], vec![0]));
        assert_eq!(run(&both, policies(Local, Cluster, External)), (vec![0], vec![0, 1]));
        assert_eq!(run(&remote, policies(Local, Cluster, External)), (vec![0], vec![0]));
        assert_eq!(run(&both, policies(Local, Local, External)), (vec![0], vec![0]));
        let enforced =
            Policies { internal_local: InternalLocal::Enforced, ..policies(Local, Cluster, External) };
        assert_eq!(run(&remote, enforced), (vec![], vec![0]));
    }

    #[test]
    fn draining_endpoints_are_the_last_resort_of_each_scope() {
        let ends =
            [endpoint(1, Here, DRAINING), endpoint(2, There, Conditions::READY), endpoint(3, Here, UNREADY)];
        // No ready endpoint here, so the draining one serves local traffic; the cluster has a ready one.
        assert_eq!(run(&ends, policies(Cluster, Local, External)), (vec![1], vec![0]));
        let gone = [endpoint(1, There, DRAINING), endpoint(2, Here, UNREADY)];
        assert_eq!(run(&gone, policies(Cluster, Cluster, Internal)).0, [0]);
    }

    #[test]
    fn hints_count_when_all_ready_endpoints_have_them() {
        let hinted = |n, zones: &[&str], nodes: &[&str]| EndpointView {
            hints: Hints::new(
                zones.iter().map(|s| s.to_string()).collect(),
                nodes.iter().map(|s| s.to_string()).collect(),
            ),
            ..endpoint(n, There, Conditions::READY)
        };
        let cluster = policies(Cluster, Cluster, Internal);
        assert_eq!(run(&[hinted(1, &["a"], &[]), hinted(2, &["b"], &[])], cluster).0, [0]);
        assert_eq!(run(&[hinted(1, &["a"], &[]), hinted(2, &[], &[])], cluster).0, [0, 1]);
        assert_eq!(run(&[hinted(1, &["b"], &[]), hinted(2, &["c"], &[])], cluster).0, [0, 1]);
        let nodes = [hinted(1, &["a"], &["node1"]), hinted(2, &["a"], &["node2"])];
        assert_eq!(run(&nodes, cluster).0, [0]);
        // A hint on an endpoint that is not ready does not count, nor does a missing one.
        let mut unready = hinted(2, &[], &[]);
        unready.conditions = UNREADY;
        assert_eq!(run(&[hinted(1, &["a"], &[]), unready], cluster).0, [0]);
    }
}
