//! The IP Virtual Server: services (virtual servers), their destinations (real servers), timeouts.
//!
//! Constants and attribute layouts are from include/uapi/linux/ip_vs.h; the kernel's handling of them is in
//! net/netfilter/ipvs/ip_vs_ctl.c.

mod attributes;
mod destination;
mod family;
mod message;
mod service;
mod statistics;

use std::collections::HashSet;
use std::hash::Hash;

use crate::socket::{Counters, KernelTransport, NetlinkError, Protocol, Request, Socket, Transport};
use crate::{DecodeError, Errno};

pub use destination::{Destination, DestinationKey, Forwarding, ForwardingMethod};
pub use message::Message;
pub use service::{Flags, Netmask, Service, ServiceKey};
pub use statistics::Statistics;

/// The kernel's general IPVS information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Information {
    /// Version as `0x00MMmmpp`, for example `0x010201` for 1.2.1.
    pub version: u32,
    /// Buckets of the connection table.
    pub connection_table_size: u32,
}

/// How long idle connections are remembered, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp: u32,
    /// TCP connections after a FIN.
    pub tcp_fin: u32,
    /// UDP.
    pub udp: u32,
}

/// A change of a service or a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates a service; `EEXIST` if it exists, `ENOENT` if the scheduler is unknown.
    NewService(Service),
    /// Changes scheduler, flags, timeout and netmask; `ESRCH` if the service does not exist.
    SetService(Service),
    /// Deletes a service with its destinations; `ESRCH` if it does not exist.
    DeleteService(ServiceKey),
    /// Creates a destination; `EEXIST` if it exists, `ESRCH` if the service does not exist, `EINVAL` if its
    /// address is not unicast. No address counts as unicast before the namespace's loopback is up.
    NewDestination(ServiceKey, Destination),
    /// Changes weight, forwarding and thresholds; `ENOENT` if the destination does not exist, `ESRCH` if the
    /// service does not.
    SetDestination(ServiceKey, Destination),
    /// Deletes a destination; `ENOENT` if the destination does not exist, `ESRCH` if the service does not.
    DeleteDestination(ServiceKey, DestinationKey),
}

impl Change {
    fn message(&self) -> (&'static str, Message) {
        match self {
            Change::NewService(service) => ("create virtual server", Message::new_service(service)),
            Change::SetService(service) => ("change virtual server", Message::set_service(service)),
            Change::DeleteService(key) => ("delete virtual server", Message::delete_service(key)),
            Change::NewDestination(key, destination) => {
                ("create real server", Message::new_destination(key, destination))
            }
            Change::SetDestination(key, destination) => {
                ("change real server", Message::set_destination(key, destination))
            }
            Change::DeleteDestination(key, destination) => {
                ("delete real server", Message::delete_destination(key, destination))
            }
        }
    }
}

/// A client for the kernel's IPVS.
///
/// The number of the generic netlink family is looked up at the start, and again when the kernel answers `ENOENT`,
/// because it changes when the module is reloaded.
#[derive(Debug)]
pub struct Client<T = KernelTransport> {
    socket: Socket<T>,
    family: u16,
}

impl Client<KernelTransport> {
    /// Opens a socket and looks up the family; `ENOENT` if this kernel has no IPVS (see [`is_absent`]).
    pub fn open() -> Result<Self, NetlinkError> {
        Self::over(Socket::open(Protocol::Generic)?)
    }
}

/// Whether opening failed because this kernel has no IPVS or could not load its module.
pub fn is_absent(error: &NetlinkError) -> bool {
    matches!(error, NetlinkError::Refused { operation: family::RESOLVE, source: Errno::ENOENT, .. })
}

impl<T: Transport> Client<T> {
    /// Uses a socket of the generic protocol.
    pub fn over(mut socket: Socket<T>) -> Result<Self, NetlinkError> {
        let family = family::resolve(&mut socket)?;
        Ok(Self { socket, family })
    }

    /// The traffic of this client's socket.
    pub fn counters(&self) -> Counters {
        self.socket.counters()
    }

    /// Version and connection table size.
    pub fn information(&mut self) -> Result<Information, NetlinkError> {
        let operation = "read IPVS information";
        let answer = self.get(operation, &Message::get_information())?;
        decode(operation, answer.information())
    }

    /// The connection timeouts of this network namespace.
    pub fn timeouts(&mut self) -> Result<Timeouts, NetlinkError> {
        let operation = "read IPVS timeouts";
        let answer = self.get(operation, &Message::get_timeouts())?;
        decode(operation, answer.timeouts())
    }

    /// Sets the connection timeouts; 0 keeps the current value.
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), NetlinkError> {
        self.execute_one("set IPVS timeouts", Message::set_timeouts(timeouts))
    }

    /// All services of this network namespace, of both families.
    ///
    /// A dump of more than about a hundred services comes in parts. The kernel starts each part at a position in a
    /// table that all namespaces share, and does not report that the table changed in between. If a service is
    /// created meanwhile, in any namespace, the kernel repeats another one (seen in Linux 6.1), and this function
    /// returns [`NetlinkError::Interrupted`]. If a service is deleted meanwhile, the kernel may omit another one
    /// without any sign; it refuses to create the omitted service again, with `EEXIST`.
    pub fn services(&mut self) -> Result<Vec<Service>, NetlinkError> {
        let operation = "list virtual servers";
        let mut services = Vec::new();
        self.dump(operation, &Message::get_services(), &mut |message| {
            services.push(message.service()?);
            Ok(())
        })?;
        unrepeated(operation, services, |service| service.key)
    }

    /// One service; `None` if it does not exist.
    pub fn service(&mut self, key: &ServiceKey) -> Result<Option<Service>, NetlinkError> {
        let operation = "read virtual server";
        match self.get(operation, &Message::get_service(key)) {
            Ok(answer) => decode(operation, answer.service()).map(Some),
            Err(error) if error.refused_with() == Some(Errno::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The destinations of one service. If the service does not exist, the kernel returns none. As in
    /// [`Client::services`], a repeated destination is reported as [`NetlinkError::Interrupted`].
    pub fn destinations(&mut self, key: &ServiceKey) -> Result<Vec<Destination>, NetlinkError> {
        let operation = "list real servers";
        let family = key.family();
        let mut destinations = Vec::new();
        self.dump(operation, &Message::get_destinations(key), &mut |message| {
            destinations.push(message.destination(family)?);
            Ok(())
        })?;
        unrepeated(operation, destinations, |destination| destination.key)
    }

    /// Deletes all services of this network namespace.
    pub fn flush(&mut self) -> Result<(), NetlinkError> {
        self.execute_one("flush virtual servers", Message::flush())
    }

    /// Makes changes in order, many per send; returns one result per change, and a refused change does not stop
    /// the others.
    pub fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), NetlinkError>> {
        let messages = changes.iter().map(Change::message).collect::<Vec<_>>();
        self.execute(&messages)
    }

    fn execute_one(&mut self, operation: &'static str, message: Message) -> Result<(), NetlinkError> {
        self.execute(&[(operation, message)]).pop().unwrap_or(Err(NetlinkError::NotSent { operation }))
    }

    fn execute(&mut self, messages: &[(&'static str, Message)]) -> Vec<Result<(), NetlinkError>> {
        let requests = messages.iter().map(|(operation, message)| self.request(operation, message));
        let mut results = self.socket.execute(&requests.collect::<Vec<_>>());
        let not_found =
            results.iter().enumerate().filter(|(_, result)| is_not_found(result)).map(|(index, _)| index);
        let not_found = not_found.collect::<Vec<_>>();
        if !not_found.is_empty() && self.family_changed() {
            let again = not_found.iter().map(|index| {
                let (operation, message) = &messages[*index];
                self.request(operation, message)
            });
            let again = self.socket.execute(&again.collect::<Vec<_>>());
            for (index, result) in not_found.into_iter().zip(again) {
                results[index] = result;
            }
        }
        results
    }

    fn get(&mut self, operation: &'static str, message: &Message) -> Result<Message, NetlinkError> {
        let request = self.request(operation, message);
        let mut answer = self.socket.get(&request);
        if is_not_found(&answer) && self.family_changed() {
            let request = self.request(operation, message);
            answer = self.socket.get(&request);
        }
        decode(operation, Message::decode(&answer?))
    }

    fn dump(
        &mut self,
        operation: &'static str,
        message: &Message,
        visit: &mut dyn FnMut(Message) -> Result<(), DecodeError>,
    ) -> Result<(), NetlinkError> {
        let mut visit_body = |_: u16, body: &[u8]| visit(Message::decode(body)?);
        let request = |family| Request::dump(operation, family, message.encode());
        let answer = self.socket.dump(&request(self.family), &mut visit_body);
        if is_not_found(&answer) && self.family_changed() {
            return self.socket.dump(&request(self.family), &mut visit_body);
        }
        answer
    }

    fn request(&self, operation: &'static str, message: &Message) -> Request {
        Request::new(operation, self.family, message.encode())
    }

    /// Looks up the family again, and returns whether its number changed.
    fn family_changed(&mut self) -> bool {
        match family::resolve(&mut self.socket) {
            Ok(family) if family != self.family => {
                self.family = family;
                true
            }
            // If the family is gone or has the same number, the first answer, `ENOENT`, is correct.
            Ok(_) | Err(_) => false,
        }
    }
}

/// A repeated entry shows that the table changed during the dump.
fn unrepeated<V, K: Eq + Hash>(
    operation: &'static str,
    entries: Vec<V>,
    key: impl Fn(&V) -> K,
) -> Result<Vec<V>, NetlinkError> {
    let mut seen = HashSet::with_capacity(entries.len());
    if entries.iter().all(|entry| seen.insert(key(entry))) {
        return Ok(entries);
    }
    Err(NetlinkError::Interrupted { operation })
}

fn is_not_found<V>(result: &Result<V, NetlinkError>) -> bool {
    result.as_ref().is_err_and(|error| error.refused_with() == Some(Errno::ENOENT))
}

fn decode<V>(operation: &'static str, value: Result<V, DecodeError>) -> Result<V, NetlinkError> {
    value.map_err(|source| NetlinkError::Decode { operation, source })
}

#[cfg(test)]
mod tests;
