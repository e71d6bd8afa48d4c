//! Virtual servers, real servers and timeouts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use weir_core::diff::Change;
use weir_core::kernel::{Connections, Failure, FailureKind, Outcome};
use weir_core::net::{Family, Protocol};
use weir_core::sampling::{Reading, Readings, Totals};
use weir_core::state::{
    Persistence, RealServer, SchedulerFlags, Scheduling, Server, Timeout, VirtualServer, Weight,
};
use weir_netlink::ipvs::{
    self, Client, Destination, Flags, Netmask, Service, ServiceKey, Statistics, Timeouts,
};
use weir_netlink::{Counters, Errno, NetlinkError, TransportProtocol};

use super::proc_ip_vs;
use super::session::Session;
use super::traffic::{AllTraffic, Listed, Traffic};
use crate::refusals;

/// Why virtual servers could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum IpvsError {
    /// The kernel refused or did not answer as expected.
    #[error(transparent)]
    Netlink(NetlinkError),
    /// The kernel has no IPVS.
    #[error("this kernel has no IPVS; run `modprobe ip_vs`, or install a kernel that has the module")]
    Absent,
    /// The list of real servers could not be read.
    #[error("cannot read {path}")]
    Proc {
        /// The file.
        path: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of the list was malformed.
    #[error(transparent)]
    Line(#[from] proc_ip_vs::BadLine),
}

impl From<NetlinkError> for IpvsError {
    fn from(error: NetlinkError) -> IpvsError {
        if ipvs::is_absent(&error) { IpvsError::Absent } else { IpvsError::Netlink(error) }
    }
}

type Servers = BTreeMap<VirtualServer, Server>;

/// The kernel's IPVS.
#[derive(Default)]
pub(super) struct Ipvs {
    session: Session<Client>,
}

impl Ipvs {
    pub(super) fn counters(&self) -> Counters {
        self.session.counters()
    }

    fn call<V>(&mut self, call: impl FnOnce(&mut Client) -> Result<V, NetlinkError>) -> Result<V, IpvsError> {
        Ok(self.session.call(call)?)
    }

    /// Whether IPVS is loaded.
    pub(super) fn is_there(&mut self) -> bool {
        !matches!(self.call(Client::information), Err(IpvsError::Absent))
    }

    pub(super) fn read_timeouts(&mut self) -> Result<BTreeMap<Timeout, u32>, IpvsError> {
        let read = self.call(Client::timeouts)?;
        Ok(BTreeMap::from([
            (Timeout::Tcp, read.tcp),
            (Timeout::TcpFin, read.tcp_fin),
            (Timeout::Udp, read.udp),
        ]))
    }

    pub(super) fn set_timeouts(&mut self, timeouts: &BTreeMap<Timeout, u32>) -> Outcome {
        let seconds = |timeout| timeouts.get(&timeout).copied().unwrap_or(0);
        let wanted = Timeouts {
            tcp: seconds(Timeout::Tcp),
            tcp_fin: seconds(Timeout::TcpFin),
            udp: seconds(Timeout::Udp),
        };
        self.call(|client| client.set_timeouts(&wanted)).map_err(|error| refused(&error, "IPVS timeouts"))
    }

    /// All our virtual servers with their real servers. Schedulers and flags come from one dump. Real servers come
    /// from `/proc/net/ip_vs`, which lists those of all virtual servers at once, where netlink would need a dump
    /// for each. Both must agree on the virtual servers.
    ///
    /// The file omits virtual servers while other network namespaces have some too: `ip_vs_info_seq_next`
    /// (`net/netfilter/ipvs/ip_vs_ctl.c`) counts theirs, `ip_vs_info_seq_start` does not. In that case real
    /// servers are read by netlink.
    pub(super) fn read(&mut self) -> Result<Servers, IpvsError> {
        let services = self.call(Client::services)?;
        let server =
            |service: &Service| Some((virtual_server(&service.key)?, Server::new(scheduling(service))));
        let mut servers: Servers = services.iter().filter_map(server).collect();
        for real in self.reals(servers.keys())? {
            if let Some(behind) = servers.get_mut(&real.server) {
                behind.real_servers.insert(real.real, real.weight);
            }
        }
        Ok(servers)
    }

    /// Traffic through all virtual servers, from the same two sources.
    pub(super) fn traffic(&mut self) -> Result<AllTraffic, IpvsError> {
        let services = self.call(Client::services)?;
        let traffic = |service: Service| {
            let server = virtual_server(&service.key)?;
            let totals = totals(&service.statistics);
            Some((server, Traffic { scheduler: service.scheduler, totals, ..Traffic::default() }))
        };
        let mut all: AllTraffic = services.into_iter().filter_map(traffic).collect();
        for real in self.reals(all.keys())? {
            if let Some(traffic) = all.get_mut(&real.server) {
                traffic.add(&real);
            }
        }
        Ok(all)
    }

    /// Reads the real servers of all virtual servers, which `servers` lists in order.
    fn reals<'s>(
        &mut self,
        servers: impl Iterator<Item = &'s VirtualServer> + Clone,
    ) -> Result<Vec<Listed>, IpvsError> {
        let listed = proc_ip_vs::read()?;
        let seen: BTreeSet<VirtualServer> = listed.servers.into_iter().collect();
        if seen.iter().eq(servers.clone()) {
            return Ok(listed.reals);
        }
        let mut reals = Vec::new();
        for server in servers {
            for destination in self.call(|client| client.destinations(&key(*server)))? {
                reals.push(Listed {
                    server: *server,
                    real: RealServer(SocketAddr::new(destination.key.address, destination.key.port)),
                    // Other programs may have set weights outside our range; any such value differs from what is
                    // wanted.
                    weight: Weight(u16::try_from(destination.weight).unwrap_or(u16::MAX)),
                    active: destination.active_connections,
                    inactive: destination.inactive_connections,
                });
            }
        }
        Ok(reals)
    }

    pub(super) fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        let messages: Vec<ipvs::Change> = changes.iter().filter_map(message).collect();
        let results = match self.session.batch(|client| client.apply(&messages)) {
            Ok(results) => results,
            Err(error) => {
                let error = IpvsError::from(error);
                return changes.iter().map(|change| Err(refused(&error, &change.to_string()))).collect();
            }
        };
        changes.iter().zip(results).map(|(change, result)| outcome(change, result)).collect()
    }

    pub(super) fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        let mut connections = Connections::new();
        let wanted: BTreeSet<_> = servers.iter().copied().collect();
        let asked: BTreeSet<VirtualServer> = servers.iter().map(|(server, _)| *server).collect();
        for server in asked {
            let Ok(found) = self.call(|client| client.destinations(&key(server))) else { continue };
            for destination in found {
                let real = RealServer(SocketAddr::new(destination.key.address, destination.key.port));
                if wanted.contains(&(server, real)) {
                    let count =
                        destination.active_connections.saturating_add(destination.inactive_connections);
                    connections.insert((server, real), count);
                }
            }
        }
        connections
    }

    /// The counters behind a virtual server, in one dump; `None` if they cannot be read. A virtual server unknown
    /// to the kernel has none.
    ///
    /// Reading `/proc/net/ip_vs` for all real servers would be cheaper, but it has no counters, and
    /// `/proc/net/ip_vs_stats` has only the totals.
    pub(super) fn sample(&mut self, server: VirtualServer) -> Readings {
        let destinations = self.call(|client| client.destinations(&key(server))).ok()?;
        Some(destinations.iter().map(reading).collect())
    }

    /// Like [`Ipvs::sample`], but `None` means that the kernel does not have the virtual server.
    pub(super) fn readings(&mut self, server: VirtualServer) -> Result<Readings, IpvsError> {
        let known = self.call(|client| client.service(&key(server)))?;
        let Some(Service { key, .. }) = known else { return Ok(None) };
        let destinations = self.call(|client| client.destinations(&key))?;
        Ok(Some(destinations.iter().map(reading).collect()))
    }
}

fn totals(statistics: &Statistics) -> Totals {
    Totals {
        connections: statistics.connections,
        bytes_in: statistics.bytes_in,
        bytes_out: statistics.bytes_out,
    }
}

fn reading(destination: &Destination) -> (SocketAddr, Reading) {
    let reading = Reading {
        active: destination.active_connections,
        inactive: destination.inactive_connections,
        weight: destination.weight,
        totals: totals(&destination.statistics),
    };
    (SocketAddr::new(destination.key.address, destination.key.port), reading)
}

fn key(server: VirtualServer) -> ServiceKey {
    ServiceKey::Address {
        protocol: TransportProtocol(server.protocol.number()),
        address: server.address.ip(),
        port: server.address.port(),
    }
}

/// Returns `None` for virtual servers that no Service can have: firewall marks and other protocols. They belong to
/// other programs.
fn virtual_server(key: &ServiceKey) -> Option<VirtualServer> {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            Some(VirtualServer::new(Protocol::from_number(protocol.0)?, *address, *port))
        }
        ServiceKey::FirewallMark { .. } => None,
    }
}

fn scheduling(service: &Service) -> Scheduling {
    let persistence = service.flags.contains(Flags::PERSISTENT).then(|| Persistence {
        timeout: service.timeout,
        prefix: match service.netmask {
            // No proxy sets a mask with holes, so the number of ones is the prefix length.
            Netmask::V4(mask) => u8::try_from(u32::from(mask).count_ones()).unwrap_or(0),
            Netmask::V6(length) => u8::try_from(length).unwrap_or(0),
        },
    });
    let flags = service.flags.without(Flags::PERSISTENT | Flags::HASHED);
    Scheduling { scheduler: service.scheduler.clone(), flags: SchedulerFlags(flags.0), persistence }
}

fn service(server: VirtualServer, how: &Scheduling) -> Service {
    let mut service = Service::new(key(server), how.scheduler.clone());
    service.flags = Flags(how.flags.0);
    if let Some(Persistence { timeout, prefix }) = how.persistence {
        service.flags = service.flags | Flags::PERSISTENT;
        service.timeout = timeout;
        service.netmask = match server.family() {
            Family::V4 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                Netmask::V4(Ipv4Addr::from(mask))
            }
            Family::V6 => Netmask::V6(u32::from(prefix)),
        };
    }
    service
}

fn destination(real: RealServer, weight: Weight) -> Destination {
    Destination::new(real.0.ip(), real.0.port(), u32::from(weight.0))
}

fn message(change: &Change) -> Option<ipvs::Change> {
    Some(match change {
        Change::CreateVirtualServer(server, how) => ipvs::Change::NewService(service(*server, how)),
        Change::UpdateVirtualServer(server, how) => ipvs::Change::SetService(service(*server, how)),
        Change::DeleteVirtualServer(server) => ipvs::Change::DeleteService(key(*server)),
        Change::AddRealServer(server, real, weight) => {
            ipvs::Change::NewDestination(key(*server), destination(*real, *weight))
        }
        Change::SetWeight(server, real, weight) => {
            ipvs::Change::SetDestination(key(*server), destination(*real, *weight))
        }
        Change::DeleteRealServer(server, real) => {
            ipvs::Change::DeleteDestination(key(*server), destination(*real, Weight::QUIESCED).key)
        }
        Change::SetSysctl(..)
        | Change::SetTimeouts(_)
        | Change::CreateDevice(_)
        | Change::DeleteDevice(_)
        | Change::CreateSet(..)
        | Change::ReplaceSet(..)
        | Change::DestroySet(_)
        | Change::AddEntry(..)
        | Change::DeleteEntry(..)
        | Change::WriteRules(_)
        | Change::AddAddress(_)
        | Change::DeleteAddress(_)
        | Change::ForgetFlows(..) => return None,
    })
}

fn outcome(change: &Change, result: Result<(), NetlinkError>) -> Outcome {
    let Err(error) = result else { return Ok(()) };
    // The kernel returns ENOENT for a scheduler that it neither has nor can load.
    let mut unknown_scheduler = None;
    if let Change::CreateVirtualServer(_, how) | Change::UpdateVirtualServer(_, how) = change
        && error.refused_with() == Some(Errno::ENOENT)
    {
        unknown_scheduler = Some(&how.scheduler);
    }
    let mut failure = refusals::failure(&error, &change.to_string());
    if let Some(name) = unknown_scheduler {
        failure.kind = FailureKind::Refused;
        failure.message = format!(
            "{}; the kernel has no scheduler `{name}`: run `modprobe ip_vs_{name}`",
            refusals::explained(&change.to_string(), &error)
        );
    }
    Err(failure)
}

fn refused(error: &IpvsError, what: &str) -> Failure {
    if let IpvsError::Netlink(error) = error {
        return refusals::failure(error, what);
    }
    Failure { kind: FailureKind::Refused, message: refusals::explained(what, error) }
}

#[cfg(test)]
mod tests {
    use weir_netlink::ipvs::Statistics;

    use super::*;

    #[test]
    fn a_destination_is_read_as_its_counters() {
        let real = RealServer("10.0.0.1:8080".parse().unwrap());
        let statistics = Statistics {
            connections: 5_000_000_000,
            bytes_in: 6,
            bytes_out: 7,
            packets_in: 8,
            ..Statistics::default()
        };
        let destination = Destination {
            active_connections: 3,
            inactive_connections: 4,
            statistics,
            ..destination(real, Weight(51))
        };
        let totals = Totals { connections: 5_000_000_000, bytes_in: 6, bytes_out: 7 };
        assert_eq!(reading(&destination), (real.0, Reading { active: 3, inactive: 4, weight: 51, totals }));
    }
}
