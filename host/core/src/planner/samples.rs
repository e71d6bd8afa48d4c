//! Which virtual servers must be read for policies that request statistics, and the results.

use std::time::Duration;

use super::Planner;
use crate::decision::VipKind;
use crate::net::Protocol;
use crate::objects::{ObjectName, Service};
use crate::sampling::{Port, Readings, Sampler};
use crate::state::VirtualServer;
use crate::wants::Want;

/// A service to read, and its virtual servers.
pub type DueService = (ObjectName, Vec<(Port, VirtualServer)>);

/// The result of reading a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Whether its statistics changed: if so, the next plan decides it again.
    pub news: bool,
    /// The first virtual server that could not be read.
    pub unread: Option<VirtualServer>,
}

impl Planner {
    /// The counters of real servers.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// The services whose counters are due to be read, at most `most`, with their TCP virtual servers. `now` is
    /// the time since 1970 on the clock used for plans.
    pub fn due_samples(&self, now: Duration, most: usize) -> Vec<DueService> {
        let servers = |name: ObjectName| {
            let service = self.cluster.service(&name)?;
            let tcp = self.desired.servers_of(&name).filter(|(server, _)| server.protocol == Protocol::Tcp);
            let servers = tcp.filter_map(|(server, want)| Some((port_of(service, server, want)?, server)));
            let servers = servers.collect();
            Some((name, servers))
        };
        self.sampler.due(now, most).into_iter().filter_map(servers).collect()
    }

    /// Reads a service that is due, and records the result.
    pub fn sample(
        &mut self,
        (name, servers): DueService,
        now: Duration,
        mut read: impl FnMut(VirtualServer) -> Readings,
    ) -> Sampled {
        let servers: Vec<_> =
            servers.into_iter().map(|(port, server)| (port, server, read(server))).collect();
        let unread = servers.iter().find(|(_, _, readings)| readings.is_none()).map(|(_, server, _)| *server);
        Sampled { news: self.sampled(&name, &servers, now), unread }
    }

    /// Records what was read of a service, and returns whether its statistics changed: if so, the next plan
    /// decides it again.
    pub fn sampled(
        &mut self,
        name: &ObjectName,
        servers: &[(Port, VirtualServer, Readings)],
        now: Duration,
    ) -> bool {
        let news = self.sampler.take(name, servers, now);
        if news {
            self.dirty.insert(name.clone());
        }
        news
    }
}

/// The port of a service that a virtual server belongs to.
fn port_of(service: &Service, server: VirtualServer, want: &Want) -> Option<Port> {
    let number = server.address.port();
    if !want.kinds.contains(VipKind::NodePort) {
        return Some(number);
    }
    let is_it = |node_port: Option<std::num::NonZeroU16>| node_port.is_some_and(|port| port.get() == number);
    let port = service.ports.iter().find(|port| port.protocol == Protocol::Tcp && is_it(port.node_port));
    port.map(|port| port.port)
}
