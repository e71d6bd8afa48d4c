//! One virtual server on one node: its real servers in the kernel's order, and their connections.

use std::net::SocketAddr;
use std::time::Duration;

use weir_core::state::Scheduling;

use crate::scheduler::{Client, Scheduler, Server, UnknownScheduler, scheduler};
use crate::weights::{Arrangement, Seen};

/// How long IPVS counts a closed connection as inactive: TIME_WAIT of `tcp_timeouts` in
/// `net/netfilter/ipvs/ip_vs_proto_tcp.c`.
pub const CLOSED: Duration = Duration::from_secs(120);
/// How long IPVS counts a reset connection as inactive: CLOSE of `tcp_timeouts`.
pub const RESET: Duration = Duration::from_secs(10);

/// How often IPVS updates its counters of new connections and bytes: every two seconds, the period of the estimators
/// in `net/netfilter/ipvs/ip_vs_est.c`. The number of active connections is always up to date.
pub const ADDED_UP: Duration = Duration::from_secs(2);

/// A virtual server of one client node.
pub struct VirtualServer {
    scheduling: Scheduling,
    scheduler: Box<dyn Scheduler>,
    /// In the order of the kernel's list: the last one added comes first.
    servers: Vec<Server>,
    /// Removed real servers keep their connections, also when they are added again.
    removed: Vec<Server>,
    /// Connections started, by endpoint.
    begun: Vec<u64>,
    /// The same as of the last update, as it can be read.
    added_up: Vec<u64>,
}

impl VirtualServer {
    /// A virtual server arranged for these endpoints. Real servers are added in the order of the endpoints.
    ///
    /// # Errors
    /// If the scheduler cannot be simulated.
    pub fn new(
        arrangement: &Arrangement,
        addresses: &[SocketAddr],
    ) -> Result<VirtualServer, UnknownScheduler> {
        let mut server = VirtualServer {
            scheduling: arrangement.scheduling.clone(),
            scheduler: scheduler(&arrangement.scheduling)?,
            servers: Vec::new(),
            removed: Vec::new(),
            begun: vec![0; addresses.len()],
            added_up: vec![0; addresses.len()],
        };
        server.arrange(arrangement, addresses)?;
        Ok(server)
    }

    /// Changes it to a new arrangement, one change after the other as over netlink. A new scheduler starts without
    /// memory.
    ///
    /// # Errors
    /// If the scheduler cannot be simulated.
    pub fn arrange(
        &mut self,
        arrangement: &Arrangement,
        addresses: &[SocketAddr],
    ) -> Result<(), UnknownScheduler> {
        if arrangement.scheduling != self.scheduling {
            self.scheduling = arrangement.scheduling.clone();
            self.scheduler = scheduler(&self.scheduling)?;
            self.scheduler.changed(&self.servers);
        }
        for (endpoint, (weight, address)) in arrangement.weights.iter().zip(addresses).enumerate() {
            let index = self.servers.iter().position(|server| server.endpoint == endpoint);
            match (index, *weight) {
                (None, None) => {}
                (None, Some(weight)) => self.add(endpoint, *address, weight),
                (Some(index), None) => {
                    self.scheduler.removing(&self.servers, index);
                    self.removed.push(self.servers.remove(index));
                    self.scheduler.changed(&self.servers);
                }
                (Some(index), Some(weight)) if self.servers[index].weight != weight => {
                    set_weight(&mut self.servers[index], weight);
                    self.scheduler.changed(&self.servers);
                }
                (Some(_), Some(_)) => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, endpoint: usize, address: SocketAddr, weight: u16) {
        let earlier = self.removed.iter().position(|server| server.endpoint == endpoint);
        let mut server = match earlier {
            Some(index) => self.removed.remove(index),
            None => Server::new(endpoint, address, weight),
        };
        set_weight(&mut server, weight);
        self.servers.insert(0, server);
        self.scheduler.changed(&self.servers);
    }

    /// Schedules a new connection. Returns its endpoint; `None` if there is no real server for it.
    pub fn connect(&mut self, client: Client) -> Option<usize> {
        let index = self.scheduler.pick(&self.servers, client)?;
        let server = &mut self.servers[index];
        server.active += 1;
        self.begun[server.endpoint] += 1;
        Some(server.endpoint)
    }

    /// Records that a connection to the endpoint was closed or reset: it is inactive from now on.
    pub fn close(&mut self, endpoint: usize) {
        if let Some(server) = self.server_mut(endpoint) {
            server.active = server.active.saturating_sub(1);
            server.inactive += 1;
        }
    }

    /// Forgets a closed connection to the endpoint.
    pub fn forget(&mut self, endpoint: usize) {
        if let Some(server) = self.server_mut(endpoint) {
            server.inactive = server.inactive.saturating_sub(1);
        }
    }

    fn server_mut(&mut self, endpoint: usize) -> Option<&mut Server> {
        self.servers.iter_mut().chain(&mut self.removed).find(|server| server.endpoint == endpoint)
    }

    /// The weight of an endpoint; `None` if it is not behind the virtual server.
    pub fn weight(&self, endpoint: usize) -> Option<u16> {
        self.servers.iter().find(|server| server.endpoint == endpoint).map(|server| server.weight)
    }

    /// Updates the readable counters, as the kernel does every [`ADDED_UP`].
    pub fn add_up(&mut self) {
        self.added_up.clone_from(&self.begun);
    }

    /// What can be read from the kernel, by endpoint; `None` for endpoints that are not behind the virtual server.
    pub fn seen(&self) -> Vec<Option<Seen>> {
        let mut seen = vec![None; self.begun.len()];
        for server in &self.servers {
            seen[server.endpoint] = Some(Seen {
                active: server.active,
                inactive: server.inactive,
                begun: self.added_up[server.endpoint],
                weight: server.weight,
            });
        }
        seen
    }
}

/// `last_weight` keeps the last weight other than 0.
fn set_weight(server: &mut Server, weight: u16) {
    server.weight = weight;
    if weight != 0 {
        server.last_weight = weight;
    }
}

#[cfg(test)]
mod tests {
    use weir_core::state::SchedulerFlags;

    use super::*;

    const CLIENT: Client = Client { address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port: 1 };

    fn arrangement(scheduler: &str, weights: &[Option<u16>]) -> Arrangement {
        let flags = SchedulerFlags::default();
        let scheduling = Scheduling { scheduler: scheduler.into(), flags, persistence: None };
        Arrangement { scheduling, weights: weights.to_vec() }
    }

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|i| SocketAddr::from(([10, 0, 0, i], 80))).collect()
    }

    #[test]
    fn the_real_server_that_was_added_last_comes_first() {
        let mut server = VirtualServer::new(&arrangement("rr", &[Some(1); 3]), &addresses(3)).unwrap();
        let taken: Vec<_> = (0..4).filter_map(|_| server.connect(CLIENT)).collect();
        assert_eq!(taken, [2, 1, 0, 2]);
    }

    #[test]
    fn connections_are_active_then_inactive_then_forgotten_and_survive_a_removal() {
        let addresses = addresses(2);
        let mut server = VirtualServer::new(&arrangement("lc", &[Some(1), None]), &addresses).unwrap();
        assert_eq!((server.connect(CLIENT), server.connect(CLIENT)), (Some(0), Some(0)));
        server.close(0);
        server.arrange(&arrangement("lc", &[None, Some(1)]), &addresses).unwrap();
        assert_eq!(server.connect(CLIENT), Some(1));
        server.arrange(&arrangement("lc", &[Some(1), Some(1)]), &addresses).unwrap();
        let seen = server.seen()[0].unwrap();
        assert_eq!(
            (seen.active, seen.inactive, seen.begun, seen.weight),
            (1, 1, 0, 1),
            "counters are not updated yet"
        );
        server.add_up();
        assert_eq!(server.seen()[0].unwrap().begun, 2);
        server.forget(0);
        assert_eq!(server.seen()[0].unwrap().inactive, 0);
    }

    #[test]
    fn a_weight_of_0_takes_nothing_and_another_scheduler_starts_anew() {
        let addresses = addresses(2);
        let mut server = VirtualServer::new(&arrangement("wrr", &[Some(1), Some(0)]), &addresses).unwrap();
        assert_eq!(server.connect(CLIENT), Some(0));
        server.arrange(&arrangement("rr", &[Some(0), Some(0)]), &addresses).unwrap();
        assert_eq!(server.connect(CLIENT), None);
        assert!(server.arrange(&arrangement("xy", &[None, None]), &addresses).is_err());
    }
}
