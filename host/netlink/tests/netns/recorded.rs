//! Runs the recorded conversations against the running kernel; see `tests/recorded/main.rs`.

#[path = "../conversations/conntrack.rs"]
mod conntrack;
#[path = "../conversations/ipset.rs"]
mod ipset;
#[path = "../conversations/nftables.rs"]
mod nftables;
#[path = "../conversations/route.rs"]
mod route;
#[path = "../conversations/rules.rs"]
mod rules;

use weir_netlink::socket::Protocol;

use crate::namespace::{isolated, output};
use crate::recording::recording;

#[test]
fn ipset_is_as_recorded() {
    isolated(|| ipset::run(recording("ipset", Protocol::Netfilter)));
}

#[test]
fn route_is_as_recorded() {
    isolated(|| {
        output("ip", &["link", "add", "near", "type", "veth", "peer", "name", "far"]);
        route::run(recording("route", Protocol::Route));
    });
}

#[test]
fn conntrack_is_as_recorded() {
    isolated(|| {
        crate::conntrack::make_flows();
        conntrack::run(recording("conntrack", Protocol::Netfilter));
    });
}

#[test]
fn rules_are_as_recorded() {
    isolated(|| {
        output("iptables-nft", &["-t", "nat", "-N", "OURS"]);
        rules::run(recording("rules", Protocol::Netfilter));
    });
}

#[test]
fn nftables_are_as_recorded() {
    isolated(|| {
        output("iptables-nft", &["-t", "nat", "-N", "OURS"]);
        nftables::run(recording("nftables", Protocol::Netfilter));
    });
}
