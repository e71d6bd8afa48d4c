//! IPVS's schedulers, as in the kernel.
//!
//! Each scheduler's documentation names the kernel file that it follows, and the important behaviour. No scheduler
//! contains kernel code: the rules were read in the kernel and implemented independently.

use std::net::{IpAddr, SocketAddr};

use weir_core::state::{SchedulerFlags, Scheduling};

mod expected_delay;
mod hashing;
mod least_connection;
mod round_robin;
#[cfg(test)]
mod tests;

/// The schedulers that can be simulated.
pub const SCHEDULERS: [&str; 8] = ["rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "mh"];

/// A real server as a scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// The index of its endpoint in the load.
    pub endpoint: usize,
    /// Its address; `mh` hashes it.
    pub address: SocketAddr,
    /// Its current weight; at 0 it accepts no new connections.
    pub weight: u16,
    /// Its last weight other than 0, by which `mh` fills its table.
    pub last_weight: u16,
    /// Connections between SYN and the first FIN or RST.
    pub active: u32,
    /// Closed connections that IPVS has not forgotten yet.
    pub inactive: u32,
}

impl Server {
    /// A real server without connections.
    pub fn new(endpoint: usize, address: SocketAddr, weight: u16) -> Server {
        Server { endpoint, address, weight, last_weight: weight, active: 0, inactive: 0 }
    }
}

/// The source of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The source address.
    pub address: IpAddr,
    /// The source port; only used with the flags `sh-port` and `mh-port`.
    pub port: u16,
}

/// How one virtual server chooses real servers. The slice has the order of the kernel's list: the real server added
/// last comes first (`__ip_vs_update_dest` in `net/netfilter/ipvs/ip_vs_ctl.c`).
pub trait Scheduler {
    /// The index of the real server that gets a new connection; `None` if no real server can take it.
    fn pick(&mut self, servers: &[Server], client: Client) -> Option<usize>;

    /// Called after a real server was added or removed, or its weight changed.
    fn changed(&mut self, _servers: &[Server]) {}

    /// Called before the real server at this index is removed.
    fn removing(&mut self, _servers: &[Server], _index: usize) {}
}

/// A scheduler that cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scheduler `{0}` cannot be simulated; weir lab supports {names}", names = SCHEDULERS.join(", "))]
pub struct UnknownScheduler(pub String);

/// A virtual server's scheduler, without memory of any connection.
///
/// # Errors
/// If it is not one of [`SCHEDULERS`].
pub fn scheduler(scheduling: &Scheduling) -> Result<Box<dyn Scheduler>, UnknownScheduler> {
    let hashing = hashing::Flags {
        fallback: scheduling.flags.contains(SchedulerFlags::FALLBACK),
        port: scheduling.flags.contains(SchedulerFlags::PORT),
    };
    Ok(match scheduling.scheduler.as_str() {
        "rr" => Box::new(round_robin::RoundRobin::default()),
        "wrr" => Box::new(round_robin::Weighted::default()),
        "lc" => Box::new(least_connection::Plain),
        "wlc" => Box::new(least_connection::Weighted),
        "sed" => Box::new(expected_delay::Shortest),
        "nq" => Box::new(expected_delay::NeverQueue),
        "sh" => Box::new(hashing::Source::new(hashing)),
        "mh" => Box::new(hashing::Maglev::new(hashing)),
        other => return Err(UnknownScheduler(other.to_owned())),
    })
}

/// The greatest common divisor of all weights other than 0; 0 if there are none.
fn common_divisor(weights: impl Iterator<Item = u16>) -> u16 {
    weights.fold(0, |a, b| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    })
}
