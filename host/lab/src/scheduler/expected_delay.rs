//! `sed` and `nq`: the shortest expected delay.

use super::least_connection::cheapest;
use super::{Client, Scheduler, Server};

/// The active connections including a new one; inactive ones do not count.
fn with_new(server: &Server) -> u64 {
    u64::from(server.active) + 1
}

/// `sed`: the smallest (active + 1) / weight; the first in the list among equals.
///
/// Source: `net/netfilter/ipvs/ip_vs_sed.c`. If each node has few connections, all nodes choose the largest weights
/// first, and therefore the same real servers.
#[derive(Debug)]
pub(super) struct Shortest;

impl Scheduler for Shortest {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        cheapest(servers, with_new)
    }
}

/// `nq`: the first idle real server in the list, otherwise as `sed`.
///
/// Source: `net/netfilter/ipvs/ip_vs_nq.c`. An idle real server is chosen however small its weight, unless it is 0.
#[derive(Debug)]
pub(super) struct NeverQueue;

impl Scheduler for NeverQueue {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        let idle = servers.iter().position(|server| server.weight > 0 && server.active == 0);
        idle.or_else(|| cheapest(servers, with_new))
    }
}
