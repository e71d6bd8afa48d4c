//! A client that sends bytes and parses answers, and servers for it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use weir_serve::{BindFailure, BuildInfo, Health, Limits, Metrics, Options, Server};

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    /// A header, which must exist.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

/// Sends a request on a new connection.
pub(crate) fn ask(address: SocketAddr, method: &str, target: &str) -> Reply {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, head.as_bytes());
    parse(&answer)
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Reply {
    ask(address, "GET", target)
}

/// Sends bytes and reads until the server ends the connection in any way.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    rest(&mut stream)
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Everything until the connection ends; a reset counts as an end. Fails if it does not end within 20 s.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "after {answer:?}");
    }
    String::from_utf8(answer).unwrap()
}

pub(crate) fn parse(answer: &str) -> Reply {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Reply { status, headers, body: body.to_owned() }
}

/// A server on ports chosen by the kernel, and its handles.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn options() -> Options {
    Options {
        health: vec![loopback()],
        metrics: vec![loopback()],
        bind_failure: BindFailure::Fail,
        proxy_mode: "ipvs".to_owned(),
        configuration: json!({"kind": "KubeProxyConfiguration", "mode": "ipvs"}),
        pages: Vec::new(),
        limits: Limits::default(),
    }
}

impl Scene {
    /// With a synchronisation period of a day, so that nothing becomes late by itself.
    pub(crate) fn new() -> Scene {
        Scene::with(options(), Health::new(Duration::from_secs(86_400)))
    }

    pub(crate) fn with(options: Options, health: Health) -> Scene {
        let metrics = Metrics::new(&BuildInfo { version: "v0.1.0".to_owned(), ..BuildInfo::default() });
        let server = Server::start(options, health.clone(), metrics.clone()).unwrap();
        Scene { server, health, metrics }
    }

    pub(crate) fn health_address(&self) -> SocketAddr {
        self.server.health_addresses()[0]
    }

    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.server.metrics_addresses()[0]
    }
}

/// Waits until a condition holds, for 20 s at most.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}
