//! The connections of a load. The same seed gives every policy the same connections, in the lab and on a real kernel.

use std::net::{IpAddr, Ipv4Addr};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::load::Load;
use crate::scheduler::Client;

/// A connection attempt of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When, in nanoseconds since the start of the warm-up.
    pub at: u64,
    /// The client node.
    pub node: usize,
    /// Its source.
    pub client: Client,
    /// Its amount of work, exponential around 1.
    pub work: f64,
}

/// An endless sequence of connections at independent times (Poisson).
#[derive(Clone, Debug)]
pub struct Arrivals {
    random: Random,
    per_second: f64,
    nodes: u32,
    clients_per_node: u32,
    next: u64,
}

impl Arrivals {
    /// The connections of this load. The same seed gives the same connections.
    pub fn new(load: &Load, seed: u64) -> Arrivals {
        let mut arrivals = Arrivals {
            random: Random(Xoshiro256PlusPlus::seed_from_u64(seed)),
            per_second: load.per_second,
            nodes: load.nodes as u32,
            clients_per_node: load.clients_per_node,
            next: 0,
        };
        arrivals.pause();
        arrivals
    }

    fn pause(&mut self) {
        let gap = self.random.exponential() / self.per_second;
        self.next = self.next.saturating_add((gap * 1e9) as u64);
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let at = self.next;
        self.pause();
        let node = self.random.below(self.nodes);
        let client = self.random.below(self.clients_per_node);
        let port = 32_768 + self.random.below(28_232) as u16;
        let work = self.random.exponential();
        // Each node has a separate network for its clients.
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a80_0000 + (node << 16) + client + 1));
        Some(Arrival { at, node: node as usize, client: Client { address, port }, work })
    }
}

/// A generator that gives the same numbers for the same seed in every release.
#[derive(Clone, Debug)]
struct Random(Xoshiro256PlusPlus);

impl Random {
    /// A number from 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An exponentially distributed number with a mean of 1.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    fn below(&mut self, bound: u32) -> u32 {
        (self.unit() * f64::from(bound)) as u32
    }
}
