//! A node between a client and the pods, each in its own namespace; packets are real.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_harness::netns::Netns;

use crate::objects::{NODE_ADDRESS, TARGET_PORT};

/// Time limit for an answer.
const ANSWER: Duration = Duration::from_millis(500);

/// Pause between two requests, so that the client does not take the processor from the proxy.
const PAUSE: Duration = Duration::from_millis(5);

/// The node's ends of the two cables, and the other side. Every address in the pod network is local to the pods'
/// namespace, so one server answers for all endpoints.
const NODE: &str = "
    sysctl -qw net.ipv4.ip_forward=1
    ip addr add 10.64.0.1/24 dev client
    ip addr add 10.65.0.1/24 dev pods
    ip link set client up
    ip link set pods up
    ip route add 10.128.0.0/9 via 10.65.0.2
";
const CLIENT: &str = "
    ip addr add 10.64.0.2/24 dev eth0
    ip link set eth0 up
    ip route add default via 10.64.0.1
";
const PODS: &str = "
    ip addr add 10.65.0.2/24 dev eth0
    ip link set eth0 up
    ip route add default via 10.65.0.1
    ip route add local 10.128.0.0/9 dev lo
";

/// A node without a proxy, a client and pods.
pub(crate) struct Stage {
    pub(crate) node: Netns,
    client: Netns,
    _pods: Netns,
}

impl Stage {
    /// Creates a stage.
    pub(crate) fn new() -> Result<Stage> {
        let (node, client, pods) = (Netns::new()?, Netns::new()?, Netns::new()?);
        node.add_interface("eth0", "52:54:00:12:34:56", &[&format!("{NODE_ADDRESS}/24")])?;
        for (name, other) in [("client", &client), ("pods", &pods)] {
            let cable = format!("link add {name} type veth peer name eth0 netns {}", other.name());
            node.run("ip", &cable.split(' ').collect::<Vec<_>>())?;
        }
        node.script(NODE)?;
        client.script(CLIENT)?;
        pods.script(PODS)?;
        let listener = pods.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT)))?;
        let listener = listener.context("cannot start the server in the pods")?;
        thread::spawn(move || serve(&listener));
        Ok(Stage { node, client, _pods: pods })
    }

    /// Returns the time since `start` at which a new connection reaches a wanted endpoint.
    pub(crate) fn await_answer(
        &self,
        service: SocketAddrV4,
        wanted: impl Fn(Ipv4Addr) -> bool + Sync,
        start: Instant,
        limit: Duration,
    ) -> Result<Duration> {
        self.client.inside(|| {
            loop {
                let last = match ask(service) {
                    Ok((endpoint, _)) if wanted(endpoint) => return Ok(start.elapsed()),
                    Ok((endpoint, _)) => format!("{endpoint} answers"),
                    Err(error) => error.to_string(),
                };
                if start.elapsed() > limit {
                    bail!("{service} did not reach the wanted endpoint within {limit:?}: {last}");
                }
                thread::sleep(PAUSE);
            }
        })?
    }

    /// Opens a connection to a service that stays open until it is dropped.
    pub(crate) fn hold(&self, service: SocketAddrV4) -> Result<TcpStream> {
        let asked = self.client.inside(|| ask(service))?;
        asked.map(|(_, stream)| stream).with_context(|| format!("{service} does not answer"))
    }
}

/// Connects, and reads the address of the endpoint.
fn ask(service: SocketAddrV4) -> io::Result<(Ipv4Addr, TcpStream)> {
    let mut stream = TcpStream::connect_timeout(&service.into(), ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut endpoint = [0; 4];
    stream.read_exact(&mut endpoint)?;
    Ok((endpoint.into(), stream))
}

/// Tells each client which endpoint it reached, and keeps the connection until the client closes it.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    if let SocketAddr::V4(endpoint) = stream.local_addr()? {
        stream.write_all(&endpoint.ip().octets())?;
        // Returns once the client has closed its side.
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}
