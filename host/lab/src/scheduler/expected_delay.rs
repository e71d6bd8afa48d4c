//! `sed` and `nq`: the shortest expected delay.

use super::least_connection::cheapest;
use super::{Client, Scheduler, Server};

/// The connections that a new one would share the real server with, itself included; inactive ones do not count.
fn with_new(server: &Server) -> u64 {
    u64::from(server.active) + 1
}

/// `sed`: the smallest (active + 1) / weight, the first of the list among equals.
///
/// Source: `net/netfilter/ipvs/ip_vs_sed.c`. Where each node holds few connections all nodes choose the largest weight
/// first, and so all the same real servers.
#[derive(Debug)]
pub(super) struct Shortest;

impl Scheduler for Shortest {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        cheapest(servers, with_new)
    }
}

/// `nq`: the first real server of the list that is idle, else as `sed`.
///
/// Source: `net/netfilter/ipvs/ip_vs_nq.c`. An idle real server is taken however small its weight, unless it is 0.
#[derive(Debug)]
pub(super) struct NeverQueue;

impl Scheduler for NeverQueue {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        let idle = servers.iter().position(|server| server.weight > 0 && server.active == 0);
        idle.or_else(|| cheapest(servers, with_new))
    }
}
