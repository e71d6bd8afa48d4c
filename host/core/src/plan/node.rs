//! What the node itself needs in the kernel: sysctls, timeouts, the dummy device, sets, chains and rules.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::net::{Family, PerFamily, Protocol};
use crate::node::{ConnectionReuse, DetectLocal, NodeView};
use crate::rule::{Chain, ConnectionState, Match, Ports, Rule, Sense, Side, Table, Target};
use crate::set::{Set, SetKind, SetName, Step};
use crate::state::{Device, KernelState, Sysctl, Timeout};

mod chains;

/// The facts about all services together that the node's part of the plan depends on: which sets have entries, which
/// load-balancer VIPs the node itself may not use, and which addresses replace sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The capacity that each set needs; sets without entries are absent.
    pub sets: BTreeMap<SetName, u32>,
    /// Load-balancer VIPs whose source ranges exclude the node.
    pub closed_to_node: BTreeSet<(IpAddr, Protocol, u16)>,
    /// The addresses that replace sources in each family, at most [`SNAT_SLOTS`].
    pub snat: PerFamily<Vec<IpAddr>>,
}

/// How many addresses can replace sources at the same time in one family: as many as the two spare bits of the
/// packet mark can encode besides masquerading by endpoint.
pub const SNAT_SLOTS: usize = 2;

impl Totals {
    fn has(&self, family: Family, set: Set) -> bool {
        self.sets.contains_key(&SetName::new(family, set))
    }

    /// Whether a set must exist; a policy's set only while some rule uses it.
    fn needs(&self, name: SetName) -> bool {
        let row = name.set.row();
        match row.beside {
            // The rule for the companion set also uses this set, even while it admits no source, so that adding and
            // removing sources never changes a rule.
            Some(beside) if row.step == Step::Admits && name.set.is_of_policy() => {
                self.has(name.family, beside)
            }
            _ => !name.set.is_of_policy() || self.has(name.family, name.set),
        }
    }
}

/// The capacity with which a hash set is created. It exceeds the usual capacity only while necessary, because
/// kube-proxy accepts no other value.
pub(crate) fn room(entries: usize, usual: u32) -> u32 {
    let entries = u32::try_from(entries).unwrap_or(u32::MAX);
    if entries > usual { entries.checked_next_power_of_two().unwrap_or(u32::MAX) } else { usual }
}

/// The desired state of the node itself: sysctls, timeouts, the device, sets and rules.
pub fn plan_node(node: &NodeView, totals: &Totals) -> KernelState {
    let mut state =
        KernelState { sysctls: sysctls(node), timeouts: timeouts(node), ..KernelState::default() };
    state.devices.insert(Device::KubeIpvs0, ());
    for family in Family::BOTH.into_iter().filter(|family| node.runs(*family)) {
        for name in SetName::all(family) {
            if !totals.needs(name) {
                continue;
            }
            let room = totals.sets.get(&name).copied().unwrap_or(node.config.set_size);
            state.sets.insert(name, sized(name.kind(), room));
        }
        state.rules.extend(chains::chains(node, totals, family));
    }
    state
}

fn sized(kind: SetKind, room: u32) -> SetKind {
    match kind {
        SetKind::Hash { set_type, family, .. } => SetKind::Hash { set_type, family, max_elements: room },
        kind => kind,
    }
}

fn sysctls(node: &NodeView) -> BTreeMap<Sysctl, i64> {
    let mut values = BTreeMap::from([
        (Sysctl::new("net/ipv4/vs/conntrack"), 1),
        (Sysctl::new("net/ipv4/vs/expire_nodest_conn"), 1),
        (Sysctl::new("net/ipv4/vs/expire_quiescent_template"), 1),
        (Sysctl::new("net/ipv4/ip_forward"), 1),
    ]);
    if node.capabilities.connection_reuse == ConnectionReuse::Disable {
        values.insert(Sysctl::new("net/ipv4/vs/conn_reuse_mode"), 0);
    }
    if node.config.strict_arp {
        values.insert(Sysctl::new("net/ipv4/conf/all/arp_ignore"), 1);
        values.insert(Sysctl::new("net/ipv4/conf/all/arp_announce"), 2);
    }
    values
}

fn timeouts(node: &NodeView) -> BTreeMap<Timeout, u32> {
    [
        (Timeout::Tcp, node.config.tcp_timeout),
        (Timeout::TcpFin, node.config.tcp_fin_timeout),
        (Timeout::Udp, node.config.udp_timeout),
    ]
    .into_iter()
    .filter_map(|(timeout, seconds)| seconds.map(|s| (timeout, s)))
    .collect()
}

/// Matches traffic from this node's pods, if the family has the necessary information.
pub(crate) fn detector(node: &NodeView, family: Family) -> Option<Match> {
    let outside = |nets: &[IpNet]| {
        let net = nets.iter().find(|net| Family::of_net(net) == family)?;
        Some(Match::Source(Sense::Not, net.trunc()))
    };
    match &node.config.detect_local {
        DetectLocal::ClusterCidr(nets) => outside(nets),
        DetectLocal::NodeCidr => outside(&node.pod_cidrs),
        DetectLocal::BridgeInterface(name) => Some(Match::InInterface(Sense::Not, name.clone())),
        DetectLocal::InterfaceNamePrefix(prefix) => {
            Some(Match::InInterface(Sense::Not, format!("{prefix}+")))
        }
    }
}

fn comment(text: &'static str) -> Match {
    Match::Comment(Cow::Borrowed(text))
}
