//! The run's own network: everything below happens in a network namespace that ends with the run.
//!
//! ```text
//!  API server, controllers, tests ── nodes (bridge, 10.0.2.2/24) ─┬─ tap1 ── node1 10.0.2.15 ── pods 10.244.1.0/24
//!                                                                 └─ tap2 ── node2 10.0.2.16 ── pods 10.244.2.0/24
//! ```

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Result;

use super::load_balancer;
use crate::machine::Tap;
use crate::process;

/// This machine's address, at which guests usually reach the host.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// A node's address; the first node has the guest's usual address.
pub(super) fn node(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, 14 + number)
}

pub(super) fn tap(number: u8) -> Tap {
    Tap { device: format!("tap{number}"), number }
}

/// Makes the bridge with a port for each node, and the routes to their pods.
pub(super) fn make(nodes: u8) -> Result<()> {
    let mut lines = format!(
        "link set lo up\nlink add nodes type bridge\naddress add {HOST}/24 dev nodes\nlink set nodes up\n"
    );
    for number in 1..=nodes {
        let (Tap { device, .. }, node) = (tap(number), node(number));
        // Writing to a string cannot fail.
        let _ = write!(
            lines,
            "tuntap add {device} mode tap\nlink set {device} master nodes up\n\
             route add 10.244.{number}.0/24 via {node}\n"
        );
    }
    let _ = writeln!(lines, "route add {} via {}", load_balancer::NETWORK, node(1));
    for line in lines.lines() {
        process::run(Command::new("ip").args(line.split(' ')))?;
    }
    Ok(())
}
