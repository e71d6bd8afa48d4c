//! Links, addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, PerFamily};

use super::Place;
use super::host::Host;
use super::namespace::Namespace;

/// Loads kernel modules that are not loaded on demand.
pub(super) fn load_modules() -> Result<()> {
    let mut command = Command::new("modprobe");
    let status = command.args(["-a", "br_netfilter", "sctp"]).status().context("cannot start modprobe")?;
    ensure!(status.success(), "modprobe br_netfilter sctp: {status}");
    Ok(())
}

/// The network of the nodes: just a bridge.
pub(super) fn switch() -> Result<Namespace> {
    let switch = Namespace::new()?;
    switch.set("net/ipv6/conf/all/disable_ipv6", "1")?;
    switch.set("net/ipv6/conf/default/disable_ipv6", "1")?;
    // A switch has no netfilter.
    switch.set("net/bridge/bridge-nf-call-iptables", "0")?;
    switch.set("net/bridge/bridge-nf-call-ip6tables", "0")?;
    switch.ip("link add br0 type bridge\nlink set br0 up\n")?;
    Ok(switch)
}

/// A machine with `eth0` in the nodes' network.
pub(super) fn machine(name: &str, number: u8, switch: &Namespace) -> Result<Host> {
    let addresses = PerFamily {
        v4: Ipv4Addr::new(10, 0, 2, number).into(),
        v6: Ipv6Addr::new(0xfd00, 0x10, 2, 0, 0, 0, 0, decimal(number)).into(),
    };
    let host = Host::new(name, addresses)?;
    let path = host.namespace().path();
    switch.ip(&format!(
        "link add to-{name} type veth peer name eth0 netns {}\nlink set to-{name} master br0 up\n",
        path.display()
    ))?;
    host.namespace().ip(&format!(
        "link set eth0 up\naddr add {}/24 brd + dev eth0\naddr add {}/64 dev eth0\n",
        addresses.v4, addresses.v6
    ))?;
    Ok(host)
}

/// Makes the last group read like the IPv4 address's last octet: 15 becomes `::15`.
fn decimal(number: u8) -> u16 {
    let number = u16::from(number);
    (number / 100 * 0x100) + (number / 10 % 10 * 0x10) + number % 10
}

/// Turns two machines into forwarding nodes, and routes the other machines' packets through them.
pub(super) fn route(node: &Host, other: &Host, outside: &Host) -> Result<()> {
    let machines = [node, other, outside];
    for (gateway, place) in [(node, Place::Local), (other, Place::Remote)] {
        let namespace = gateway.namespace();
        namespace.set("net/ipv4/ip_forward", "1")?;
        namespace.set("net/ipv6/conf/all/forwarding", "1")?;
        // Otherwise only the first few of many refused requests get an error.
        namespace.set("net/ipv4/icmp_ratelimit", "0")?;
        namespace.set("net/ipv6/icmp/ratelimit", "0")?;
        let bridge = bridge_addresses(place);
        namespace.ip(&format!(
            "link add cbr0 type bridge\nlink set cbr0 up\naddr add {}/24 brd + dev cbr0\naddr add {}/64 dev cbr0\n",
            bridge.v4, bridge.v6
        ))?;
        let pods = pod_addresses(place, 0);
        let lines: String = Family::BOTH
            .map(|family| {
                let length = if family == Family::V4 { 24 } else { 64 };
                format!("route add {}/{length} via {}\n", pods.get(family), gateway.address(family))
            })
            .concat();
        for machine in machines.into_iter().filter(|machine| machine.name() != gateway.name()) {
            machine.namespace().ip(&lines)?;
        }
    }
    for machine in [other, outside] {
        machine.namespace().ip(&default_route(node.address(Family::V4), node.address(Family::V6)))?;
    }
    Ok(())
}

/// A pod on a node's bridge.
pub(super) fn pod(name: &str, place: Place, number: u8, node: &Host) -> Result<Host> {
    let addresses = pod_addresses(place, number);
    let host = Host::new(name, addresses)?;
    let path = host.namespace().path();
    // A pod's packet to itself with translated addresses leaves the bridge where it came in.
    node.namespace().ip(&format!(
        "link add veth-{name} type veth peer name eth0 netns {}\n\
         link set veth-{name} master cbr0 up\n\
         link set veth-{name} type bridge_slave hairpin on\n",
        path.display()
    ))?;
    let gateway = bridge_addresses(place);
    host.namespace().ip(&format!(
        "link set eth0 up\naddr add {}/24 brd + dev eth0\naddr add {}/64 dev eth0\n{}",
        addresses.v4,
        addresses.v6,
        default_route(gateway.v4, gateway.v6)
    ))?;
    Ok(host)
}

fn default_route(v4: IpAddr, v6: IpAddr) -> String {
    format!("route add default via {v4}\nroute add default via {v6}\n")
}

/// The node's addresses on the bridge of its pods.
pub(super) fn bridge_addresses(place: Place) -> PerFamily<IpAddr> {
    pod_addresses(place, 1)
}

/// Address `number` of a node's pod network; 0 is the network itself.
fn pod_addresses(place: Place, number: u8) -> PerFamily<IpAddr> {
    let node = match place {
        Place::Local => 0,
        Place::Remote => 1,
    };
    PerFamily {
        v4: Ipv4Addr::new(10, 244, node, number).into(),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, decimal(number)).into(),
    }
}
