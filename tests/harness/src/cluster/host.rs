//! A pod, a node or an outside machine: a namespace with an address of each family, servers and clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use weir_core::net::{Family, PerFamily, Protocol};

use super::client::{Answer, Conversation, Failure, PATIENCE, Tally};
use super::namespace::Namespace;
use super::server::Server;

/// A pod, a node or an outside machine.
#[derive(Debug)]
pub struct Host {
    name: String,
    addresses: PerFamily<IpAddr>,
    namespace: Arc<Namespace>,
}

impl Host {
    pub(super) fn new(name: &str, addresses: PerFamily<IpAddr>) -> Result<Host> {
        Ok(Host { name: name.to_owned(), addresses, namespace: Arc::new(Namespace::new()?) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in one family.
    pub fn address(&self, family: Family) -> IpAddr {
        *self.addresses.get(family)
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Starts a server with the host's name.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve(&self, protocols: &[Protocol], port: u16) -> Result<Server> {
        Server::start(&self.namespace, &self.name, protocols, port)
    }

    /// Sends one request from here.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn request(&self, protocol: Protocol, target: SocketAddr) -> Result<Answer, Failure> {
        self.converse(protocol, target)?.ask()
    }

    /// Sends one request from this port. The connection ends with a reset, so the port is free again immediately.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn request_from(&self, port: u16, protocol: Protocol, target: SocketAddr) -> Result<Answer, Failure> {
        self.inside(|| {
            let mut open = Conversation::open_from(port, protocol, target, PATIENCE)?;
            let answer = open.ask()?;
            open.abort().map(|()| answer)
        })
    }

    /// Sends one request and gives up after `patience`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn request_within(
        &self,
        patience: Duration,
        protocol: Protocol,
        target: SocketAddr,
    ) -> Result<Answer, Failure> {
        self.inside(|| Conversation::open(protocol, target, patience)?.ask())
    }

    /// Sends requests one after the other, each on its own connection or port.
    pub fn requests(&self, count: usize, protocol: Protocol, target: SocketAddr) -> Tally {
        let mut tally = Tally::default();
        // A closed UDP port may be chosen again, and its flow still leads to the server that it had.
        let mut ports = Vec::new();
        self.inside(|| {
            for _ in 0..count {
                let mut open = Conversation::open(protocol, target, PATIENCE);
                tally.add(open.as_mut().map_err(|failure| *failure).and_then(Conversation::ask));
                if protocol == Protocol::Udp {
                    ports.push(open);
                }
            }
        });
        tally
    }

    /// Opens a connection that stays open.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn converse(&self, protocol: Protocol, target: SocketAddr) -> Result<Conversation, Failure> {
        self.inside(|| Conversation::open(protocol, target, PATIENCE))
    }

    /// Sends requests one after the other until stopped.
    pub fn load(&self, protocol: Protocol, target: SocketAddr) -> Load {
        self.load_with_pauses(Duration::ZERO, protocol, target)
    }

    /// Like [`Host::load`], with a pause between requests that leaves processor time to other programs.
    pub fn load_with_pauses(&self, pause: Duration, protocol: Protocol, target: SocketAddr) -> Load {
        Load::start(&self.namespace, pause, move || {
            Conversation::open(protocol, target, PATIENCE).and_then(|mut open| open.ask())
        })
    }

    /// Sends requests on one connection, or from one port, until stopped. An answer that differs from the first
    /// counts as the end of the connection: it came from another server, or went to another client.
    ///
    /// # Errors
    /// When there is no first answer.
    pub fn stream(&self, pause: Duration, protocol: Protocol, target: SocketAddr) -> Result<Load, Failure> {
        let mut open = self.converse(protocol, target)?;
        let first = open.ask()?;
        Ok(Load::start(&self.namespace, pause, move || {
            let answer = open.ask()?;
            if answer == first { Ok(answer) } else { Err(Failure::Ended) }
        }))
    }

    fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        inside(&self.namespace, action)
    }
}

/// An existing namespace can be entered as long as its handle is open.
fn inside<T: Send>(namespace: &Namespace, action: impl FnOnce() -> T + Send) -> T {
    namespace.run(|| Ok(action())).expect("the namespace can be entered")
}

/// Requests running in the background.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(
        namespace: &Arc<Namespace>,
        pause: Duration,
        mut ask: impl FnMut() -> Result<Answer, Failure> + Send + 'static,
    ) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (namespace, stopped, counted) = (Arc::clone(namespace), Arc::clone(&stop), Arc::clone(&tally));
        let thread = thread::spawn(move || {
            inside(&namespace, || {
                while !stopped.load(Ordering::Relaxed) {
                    let answer = ask();
                    counted.lock().expect("counting does not panic").add(answer);
                    thread::sleep(pause);
                }
            });
        });
        Load { stop, tally, thread }
    }

    /// The results so far.
    pub fn so_far(&self) -> Tally {
        self.tally.lock().expect("counting does not panic").clone()
    }

    /// Waits for the last answer and returns the results.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.tally.lock().expect("counting does not panic").clone()
    }
}
