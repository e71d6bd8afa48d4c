//! `lc` and `wlc`: the fewest connections.

use super::{Client, Scheduler, Server};

/// The cost of a real server's connections: an active one costs as much as 256 inactive ones
/// (`ip_vs_dest_conn_overhead` in `include/net/ip_vs.h`).
fn overhead(server: &Server) -> u64 {
    u64::from(server.active) * 256 + u64::from(server.inactive)
}

/// `lc`: the real server with the fewest connections, the first in the list among equals; weights only matter as 0 or
/// not 0.
///
/// Source: `net/netfilter/ipvs/ip_vs_lc.c`. Only this node's connections are known.
#[derive(Debug)]
pub(super) struct Plain;

impl Scheduler for Plain {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        let open = (0..servers.len()).filter(|index| servers[*index].weight > 0);
        open.min_by_key(|index| overhead(&servers[*index]))
    }
}

/// `wlc`: the fewest connections relative to its weight; the first in the list among equals.
///
/// Source: `net/netfilter/ipvs/ip_vs_wlc.c`. Inactive connections count, so a real server whose weight was raised
/// gets a burst of connections until it has caught up. Idle real servers are equal whatever their weights.
#[derive(Debug)]
pub(super) struct Weighted;

impl Scheduler for Weighted {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        cheapest(servers, overhead)
    }
}

/// The first real server with the smallest cost relative to its weight. Costs are compared by cross-multiplication,
/// because the kernel has no fractions; a weight of 0 never wins.
pub(super) fn cheapest(servers: &[Server], cost: fn(&Server) -> u64) -> Option<usize> {
    let mut open = (0..servers.len()).filter(|index| servers[*index].weight > 0);
    let first = open.next()?;
    Some(open.fold(first, |least, index| {
        let (a, b) = (&servers[least], &servers[index]);
        if cost(a) * u64::from(b.weight) > cost(b) * u64::from(a.weight) { index } else { least }
    }))
}
