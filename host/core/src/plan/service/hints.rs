//! Hints for a service's owner: parts of its objects that are not used, and why it may not work.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::net::{Family, Protocol};
use crate::node::NodeView;
use crate::objects::{EndpointPort, EndpointSlice, TrafficPolicy};
use crate::plan::detector;
use crate::report::{Reason, Report};
use crate::view::ServiceView;

/// How many names a sentence lists before it counts the rest.
const SHOWN: usize = 4;

/// Returns at most one report per reason.
pub(super) fn hints(view: &ServiceView, node: &NodeView) -> Vec<Report> {
    let all = [
        (Reason::AddressUnusable, unusable_addresses(view, node)),
        (Reason::NodeAddress, node_addresses(view)),
        (Reason::NodePortIsPort, node_ports(view, node)),
        (Reason::SourceRangesOneFamily, open_families(view)),
        (Reason::EndpointsUnmatched, unmatched(view)),
        (Reason::EndpointsNotRead, not_read(view)),
        (Reason::EndpointsWithoutNode, without_node(view)),
        (Reason::FurtherAddresses, further_addresses(view)),
    ];
    let service = &view.service.name;
    all.into_iter()
        .filter_map(|(reason, message)| Some(Report { service: service.clone(), reason, message: message? }))
        .collect()
}

/// The first few names, and how many more there are.
fn some_of(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let list = names.join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

fn unusable_addresses(view: &ServiceView, node: &NodeView) -> Option<String> {
    let bad = view.service.vips().filter_map(|(kind, ip)| Some((kind, ip, node.unusable(ip)?)));
    let bad: BTreeSet<_> = bad.collect();
    (!bad.is_empty()).then(|| {
        let list = some_of(bad.iter().map(|(kind, ip, why)| format!("{kind} IP {ip} ({why})")));
        format!(
            "these addresses are not served, because no Service may have them: {list}; use other addresses"
        )
    })
}

fn node_addresses(view: &ServiceView) -> Option<String> {
    let nodes = &view.encounters.nodes;
    (!nodes.is_empty()).then(|| {
        let list = some_of(nodes.iter().map(|(ip, node)| format!("{ip} (node {node})")));
        format!(
            "these VIPs are addresses of other nodes: {list}; this node does not bind them, because it could then no \
             longer reach those nodes. Clients reach these VIPs on those nodes"
        )
    })
}

fn node_ports(view: &ServiceView, node: &NodeView) -> Option<String> {
    let (taken, families) = (&view.encounters.node_ports, view.ports.iter().map(|port| port.family));
    let families: BTreeSet<Family> =
        families.filter(|family| taken.keys().any(|(of, ..)| of == family)).collect();
    // With masqueradeAll, only load balancers with the policy Local keep clients' addresses.
    let masquerade_all = node.config.masquerade_all;
    let keeps = view.external_local && view.ports.iter().any(|port| !port.load_balancer_ips.is_empty());
    if families.is_empty() || (masquerade_all && !keeps) {
        return None;
    }
    let met: BTreeSet<String> =
        taken.iter().map(|((_, protocol, port), by)| format!("{port}/{protocol} (of {by})")).collect();
    let list = some_of(met);
    let kept = masquerade_all || families.iter().all(|family| detector(node, *family).is_some());
    let outcome = if kept {
        "kube-proxy would replace clients' addresses with the node's, but weir keeps them"
    } else {
        "clients' addresses are replaced with the node's, because pods cannot be recognized (set clusterCIDR)"
    };
    Some(format!("its ports are also node ports: {list}; {outcome}. Change one of the port numbers"))
}

/// Source ranges of only one family leave the other family's load-balancer VIPs open.
fn open_families(view: &ServiceView) -> Option<String> {
    let ranges = &view.service.source_ranges;
    let balanced = view.ports.iter().filter(|port| !port.load_balancer_ips.is_empty());
    let open = balanced
        .map(|port| port.family)
        .find(|family| !ranges.is_empty() && !ranges.iter().any(|net| Family::of_net(net) == *family));
    open.map(|family| {
        format!(
            "spec.loadBalancerSourceRanges has no {family} network, so its {family} load-balancer address is open to \
             everyone; add one to close it"
        )
    })
}

/// Service ports that no slice has, although slices have endpoints: names, protocols or families do not match.
fn unmatched(view: &ServiceView) -> Option<String> {
    let filled: Vec<&EndpointSlice> =
        view.slices.iter().map(|slice| &**slice).filter(|slice| !slice.endpoints.is_empty()).collect();
    if filled.is_empty() || view.ports.is_empty() {
        return None;
    }
    let families: BTreeSet<Family> = view.ports.iter().map(|port| port.family).collect();
    let reachable: Vec<_> = filled.iter().filter(|slice| families.contains(&slice.family)).collect();
    if reachable.is_empty() {
        let (has, wants) = (filled[0].family, view.ports[0].family);
        return Some(format!(
            "its endpoints have {has} addresses but its cluster IP is {wants}, so no endpoint is used; use \
             EndpointSlices with addressType {wants}, or give the Service an {has} cluster IP"
        ));
    }
    let mut missing = BTreeSet::new();
    for view in &view.ports {
        let same = |port: &EndpointPort| port.name == view.port.name && port.protocol == view.port.protocol;
        let mut of_family = reachable.iter().filter(|slice| slice.family == view.family).peekable();
        if of_family.peek().is_some() && !of_family.any(|slice| slice.ports.iter().any(same)) {
            missing.insert(port_name(&view.port.name, view.port.protocol));
        }
    }
    (!missing.is_empty()).then(|| {
        let ports = reachable.iter().flat_map(|slice| &slice.ports);
        let there: BTreeSet<String> = ports.map(|port| port_name(&port.name, port.protocol)).collect();
        let there = if there.is_empty() { "none".to_owned() } else { some_of(there) };
        format!(
            "no endpoint has the port {}: EndpointSlices have {there}. A Service's port and a slice's port must have \
             the same name and protocol; with a selector, targetPort must be a port of the pods",
            some_of(missing)
        )
    })
}

fn port_name(name: &str, protocol: Protocol) -> String {
    let protocol = protocol.to_string().to_uppercase();
    if name.is_empty() { format!("without a name ({protocol})") } else { format!("`{name}` ({protocol})") }
}

fn not_read(view: &ServiceView) -> Option<String> {
    let silent = view.encounters.endpoints_object && view.slices.is_empty() && !view.ports.is_empty();
    silent.then(|| {
        "it has an Endpoints object but no EndpointSlice. weir does not read Endpoints objects, so the Service has \
         no endpoints. Create an EndpointSlice with the label kubernetes.io/service-name"
            .to_owned()
    })
}

fn without_node(view: &ServiceView) -> Option<String> {
    let service = &view.service;
    let policies = [
        (service.internal_policy == TrafficPolicy::Local, "internalTrafficPolicy"),
        (view.external_local, "externalTrafficPolicy"),
    ];
    let local: Vec<&str> = policies.into_iter().filter_map(|(local, name)| local.then_some(name)).collect();
    if local.is_empty() {
        return None;
    }
    let nowhere =
        view.ports.iter().flat_map(|port| &port.endpoints).filter(|endpoint| endpoint.node.is_none());
    let nowhere: BTreeSet<IpAddr> = nowhere.map(|endpoint| endpoint.address.ip()).collect();
    (!nowhere.is_empty()).then(|| {
        format!(
            "endpoints without nodeName are not used with {} Local: {}; set nodeName, or set the policy to Cluster",
            local.join(" and "),
            some_of(nowhere.iter().map(ToString::to_string))
        )
    })
}

fn further_addresses(view: &ServiceView) -> Option<String> {
    let endpoints = view.slices.iter().flat_map(|slice| &slice.endpoints);
    let several = endpoints.filter(|endpoint| endpoint.further_addresses > 0);
    let several: BTreeSet<IpAddr> = several.map(|endpoint| endpoint.address).collect();
    (!several.is_empty() && !view.ports.is_empty()).then(|| {
        format!(
            "endpoints have several addresses, but only each endpoint's first address is used: {}; create one \
             endpoint per address",
            some_of(several.iter().map(ToString::to_string))
        )
    })
}
