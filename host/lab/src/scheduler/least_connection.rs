//! `lc` and `wlc`: the fewest connections.

use super::{Client, Scheduler, Server};

/// What the connections of a real server count: an active one as 256 inactive ones (`ip_vs_dest_conn_overhead` in
/// `include/net/ip_vs.h`).
fn overhead(server: &Server) -> u64 {
    u64::from(server.active) * 256 + u64::from(server.inactive)
}

/// `lc`: the real server with the fewest connections, the first of the list among equals; weights count as 0 or not 0.
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

/// `wlc`: the fewest connections for its weight, the first of the list among equals.
///
/// Source: `net/netfilter/ipvs/ip_vs_wlc.c`. Inactive connections count, so a real server whose weight grew is caught up
/// with by a burst of connections. Idle real servers are equal whatever their weights.
#[derive(Debug)]
pub(super) struct Weighted;

impl Scheduler for Weighted {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        cheapest(servers, overhead)
    }
}

/// The first real server with the smallest cost for its weight. Costs are compared by cross multiplication, as the
/// kernel has no fractions; a weight of 0 never wins.
pub(super) fn cheapest(servers: &[Server], cost: fn(&Server) -> u64) -> Option<usize> {
    let mut open = (0..servers.len()).filter(|index| servers[*index].weight > 0);
    let first = open.next()?;
    Some(open.fold(first, |least, index| {
        let (a, b) = (&servers[least], &servers[index]);
        if cost(a) * u64::from(b.weight) > cost(b) * u64::from(a.weight) { index } else { least }
    }))
}
