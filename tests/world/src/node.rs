//! Generated nodes: the object, the addresses, the configuration and the kernel's capabilities.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use weir_core::cluster::Event;
use weir_core::net::{Family, PerFamily};
use weir_core::node::{
    Capabilities, ConnectionReuse, DetectLocal, HostAddress, InternalLocal, NodePortAddress, NodeView,
    ProxyConfig, Switch,
};
use weir_core::objects::{Allocatable, Node, NodeAddressType, ZONE_LABEL};
use weir_core::planner::Planner;
use weir_core::rule::Extension;
use weir_core::set::MAX_ELEMENTS;

use super::{MEETING, NODE, NODES, Pool, ZONES, address_of, build, weighted_option};

/// What is known of the node apart from its Node object.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The addresses of its interfaces.
    pub host_addresses: Vec<HostAddress>,
    /// The configuration.
    pub config: ProxyConfig,
    /// The capabilities of its kernel.
    pub capabilities: Capabilities,
}

impl Facts {
    /// The view of the node with this object.
    pub fn view(&self, node: Option<&Node>) -> NodeView {
        let (config, capabilities) = (self.config.clone(), self.capabilities.clone());
        NodeView::new(NODE, node, None, self.host_addresses.clone(), config, capabilities)
    }

    /// Passes an event to a planner, like the daemon.
    pub fn tell(&self, planner: &mut Planner, event: Event) {
        planner.apply(event);
        let view = self.view(planner.node_object());
        planner.set_node(view);
    }
}

/// Generates facts about the node.
pub fn facts() -> impl Strategy<Value = Facts> {
    let addresses = prop::sample::subsequence(
        &["127.0.0.1", "::1", "192.0.2.10", "192.0.2.11", "2001:db8::10", "fe80::10", "10.244.0.254"][..],
        0..=7,
    );
    (addresses, config(), capabilities()).prop_map(|(addresses, config, capabilities)| Facts {
        host_addresses: addresses.into_iter().map(host_address).collect(),
        config,
        capabilities,
    })
}

fn host_address(text: &str) -> HostAddress {
    HostAddress { interface: "eth0".to_owned(), address: text.parse().expect("a valid address"), prefix: 24 }
}

fn config() -> impl Strategy<Value = ProxyConfig> {
    let scheduling = (select(&["rr", "wlc", "mh"][..]), weighted_option(0.2, 1..900u32), any::<bool>());
    let traffic = (
        any::<bool>(),
        select(&[0u8, 14, 31][..]),
        detect_local(),
        prop::collection::vec(node_port_address(), 0..2),
        prop::bool::weighted(0.9),
        any::<bool>(),
        // Sets that are full with two or four entries often grow.
        select(&[MAX_ELEMENTS, MAX_ELEMENTS, 4, 2][..]),
    );
    (scheduling, traffic).prop_map(|((scheduler, tcp_timeout, strict_arp), traffic)| {
        let (masquerade_all, masquerade_bit, detect_local, node_port_addresses, external, enforced, set_size) =
            traffic;
        ProxyConfig {
            scheduler: scheduler.to_owned(),
            strict_arp,
            tcp_timeout,
            masquerade_all,
            masquerade_bit,
            detect_local,
            node_port_addresses,
            external_ips: switch(external),
            internal_local: if enforced { InternalLocal::Enforced } else { InternalLocal::AsUpstream },
            set_size,
            ..ProxyConfig::default()
        }
    })
}

fn switch(on: bool) -> Switch {
    if on { Switch::On } else { Switch::Off }
}

fn detect_local() -> impl Strategy<Value = DetectLocal> {
    let cidrs = prop::sample::subsequence(&["10.244.0.0/16", "fd00:244::/64"][..], 0..=2);
    prop_oneof![
        cidrs.prop_map(|nets| {
            DetectLocal::ClusterCidr(
                nets.into_iter().map(|net| net.parse().expect("a valid network")).collect(),
            )
        }),
        Just(DetectLocal::NodeCidr),
        Just(DetectLocal::BridgeInterface("cni0".to_owned())),
        Just(DetectLocal::InterfaceNamePrefix("veth".to_owned())),
    ]
}

fn node_port_address() -> impl Strategy<Value = NodePortAddress> {
    prop_oneof![
        select(&["192.0.2.0/28", "127.0.0.0/8", "2001:db8::/64"][..])
            .prop_map(|net| NodePortAddress::Net(net.parse().expect("a valid network"))),
        Just(NodePortAddress::Primary),
        Just(NodePortAddress::Localhost),
        Just(NodePortAddress::All),
    ]
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    let families = prop_oneof![
        4 => Just(Family::BOTH.to_vec()),
        1 => Just(vec![Family::V4]),
        1 => Just(vec![Family::V6]),
    ];
    let schedulers =
        prop_oneof![Just(None), Just(Some(["rr", "wrr", "wlc", "sh", "mh"].map(str::to_owned).to_vec())),];
    // Without these, packets are treated the same, except packets that rules with the first extension keep away.
    let optional =
        [Extension::Ipvs, Extension::Comment, Extension::BridgePort, Extension::Snat, Extension::Reject];
    let missing =
        || prop_oneof![3 => Just(Vec::new()), 1 => prop::sample::subsequence(optional.to_vec(), 0..=5)];
    (families, schedulers, missing(), missing(), any::<bool>()).prop_map(
        |(families, schedulers, v4, v6, old)| Capabilities {
            families,
            schedulers,
            missing: PerFamily { v4: v4.into_iter().collect(), v6: v6.into_iter().collect() },
            connection_reuse: if old { ConnectionReuse::Disable } else { ConnectionReuse::Leave },
        },
    )
}

/// Generates the object of any node, including fields that only policies read.
pub(crate) fn any_node() -> impl Strategy<Value = Node> {
    let taints = prop::sample::subsequence(&["maintenance:NoSchedule", "gpu=yes:NoExecute"][..], 0..=2);
    let cpu_millis = select(&[0, 500, 4000][..]);
    (node(&MEETING), select(NODES), any::<bool>(), taints, cpu_millis).prop_map(
        |(node, name, unschedulable, taints, cpu_millis)| Node {
            name: name.to_owned(),
            unschedulable,
            deleting: false,
            taints: taints.into_iter().map(str::to_owned).collect(),
            allocatable: Allocatable { cpu_millis, memory_bytes: 0 },
            ..node
        },
    )
}

/// Generates this node's object.
pub fn node(pool: &'static Pool) -> impl Strategy<Value = Node> {
    let addresses = prop::collection::vec(
        (
            prop_oneof![Just(NodeAddressType::Internal), Just(NodeAddressType::External)],
            address_of("192.0.2.10 192.0.2.11 2001:db8::10"),
        ),
        0..3,
    );
    let pod_cidrs = prop::sample::subsequence(&["10.244.0.0/24", "fd00:244::/112"][..], 0..=2);
    (weighted_option(0.7, select(ZONES)), addresses, pod_cidrs).prop_map(
        |(zone, addresses, pod_cidrs): (_, Vec<(_, IpAddr)>, _)| {
            let labels = zone.map(|zone| (ZONE_LABEL.to_owned(), zone.to_owned()));
            let pod_cidrs = pod_cidrs.into_iter().map(|net| net.parse().expect("a valid network"));
            let mut node = Node {
                labels: labels.into_iter().collect(),
                addresses,
                pod_cidrs: pod_cidrs.collect(),
                ..build::node(NODE, &[])
            };
            pool.settle_node(&mut node);
            node
        },
    )
}
