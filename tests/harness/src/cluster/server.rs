//! A server that answers every request with its name, the client's address as it sees it, and the question.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;
use weir_core::net::{Family, Protocol};

use super::namespace::Namespace;
use super::transport;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    /// The server's end notices when this one closes.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers on `port` of all addresses of both families in the namespace.
    ///
    /// # Errors
    /// When a socket cannot be created or the port is taken.
    pub fn start(namespace: &Namespace, name: &str, protocols: &[Protocol], port: u16) -> Result<Server> {
        let mut sources = Vec::new();
        for &protocol in protocols {
            let role = if protocol == Protocol::Udp { Role::Datagrams } else { Role::Listener };
            for family in Family::BOTH {
                let listening = || format!("{name} cannot listen on {protocol} port {port} of {family}");
                let socket = namespace
                    .run(|| Ok(transport::listen(protocol, family, port)?))
                    .with_context(listening)?;
                sources.push(Source { socket, role });
            }
        }
        let (stop, stopped) = UnixStream::pair().context("cannot create a pair of sockets")?;
        let name = name.to_owned();
        let thread = thread::spawn(move || serve(&name, sources, &stopped));
        Ok(Server { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has printed the reason, and its clients have noticed.
            let _ = thread.join();
        }
    }
}

/// What to do when a socket is readable.
#[derive(Clone, Copy)]
enum Role {
    Listener,
    Datagrams,
    Connection(SocketAddr),
}

struct Source {
    socket: Socket,
    role: Role,
}

fn serve(name: &str, mut sources: Vec<Source>, stopped: &UnixStream) {
    loop {
        let fds = sources.iter().map(|source| source.socket.as_fd());
        let mut polled: Vec<PollFd<'_>> =
            fds.chain([stopped.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(error) => panic!("{name}: poll: {error}"),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        if ready.last() == Some(&true) {
            return;
        }
        let mut ready = ready.into_iter();
        let mut accepted = Vec::new();
        sources.retain(|source| {
            let go_on = if ready.next() == Some(true) { source.handle(name, &mut accepted) } else { Ok(()) };
            // A client that disconnects in the middle ends its connection, but not the server's other sockets.
            go_on.is_ok() || !matches!(source.role, Role::Connection(_))
        });
        sources.append(&mut accepted);
    }
}

impl Source {
    /// An error means that the connection has closed.
    fn handle(&self, name: &str, accepted: &mut Vec<Source>) -> io::Result<()> {
        match self.role {
            Role::Listener => {
                let (socket, peer) = self.socket.accept()?;
                let peer = peer.as_socket().ok_or(io::ErrorKind::Unsupported)?;
                accepted.push(Source { socket, role: Role::Connection(peer) });
            }
            Role::Datagrams => {
                // Peeks to learn the sender, because only `read` fills a buffer that can be read without unsafe
                // code.
                let peer = self.socket.peek_sender()?;
                let seen = peer.as_socket().ok_or(io::ErrorKind::Unsupported)?;
                let mut buffer = [0; 64];
                let count = (&self.socket).read(&mut buffer)?;
                self.socket.send_to(&answer(name, seen, &buffer[..count]), &peer)?;
            }
            Role::Connection(peer) => {
                let mut buffer = [0; 64];
                let count = (&self.socket).read(&mut buffer)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                (&self.socket).write_all(&answer(name, peer, &buffer[..count]))?;
            }
        }
        Ok(())
    }
}

/// A question is short enough to arrive in one piece, and ends with its line.
fn answer(name: &str, peer: SocketAddr, question: &[u8]) -> Vec<u8> {
    [format!("{name} {peer} ").as_bytes(), question].concat()
}
