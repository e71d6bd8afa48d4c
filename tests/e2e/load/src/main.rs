//! `weir-e2e-load [--leave=N] NAME=ADDRESS:PORT ...`: for each target one client that keeps its connection and one that
//! connects for each request, until the program is killed. Every second it prints a line of JSON with the totals, and
//! for each failure a line with the time, to be compared with the logs of proxies and kubelets.
//!
//! Each client has its own range of local ports. IPVS finds the connection of a reply by client port and real server,
//! so one client that reaches a pod through two VIPs from the same port gets replies from the wrong one. Clients whose
//! source a node replaces share that node's address: `--leave` leaves the ranges of another program's clients to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde_json::json;
use socket2::{Domain, Socket, Type};

/// How long a client waits for a connection or a response, because nodes are emulated and slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two requests of a client. All clients together must leave an emulated node time for its own work.
const PAUSE: Duration = Duration::from_millis(500);

/// Local ports of the first client, above all node ports, and how many each client has: enough for a port to rest
/// until IPVS has forgotten it.
const FIRST_PORT: u16 = 33_000;
const PORTS: u16 = 3_200;

const USAGE: &str = "usage: weir-e2e-load [--leave=N] NAME=ADDRESS:PORT ...";

fn main() -> anyhow::Result<()> {
    let mut clients = Vec::new();
    let mut index: u16 = 0;
    for target in std::env::args().skip(1) {
        let (name, address) = target.split_once('=').context(USAGE)?;
        if name == "--leave" {
            index = address.parse().context(USAGE)?;
            continue;
        }
        let address: SocketAddr = address.parse().with_context(|| format!("{address} is not an address"))?;
        for is_stream in [true, false] {
            let kind = if is_stream { "stream" } else { "new connections" };
            let first = PORTS.checked_mul(index).and_then(|offset| FIRST_PORT.checked_add(offset));
            let first =
                first.filter(|first| first.checked_add(PORTS).is_some()).context("too many targets")?;
            index += 1;
            let totals = Arc::new(Mutex::new(Totals::default()));
            let ports = Ports { first, next: 0 };
            let name = format!("{name}, {kind}");
            clients.push((name.clone(), Arc::clone(&totals)));
            thread::spawn(move || run(&name, address, is_stream, ports, &totals));
        }
    }
    ensure!(!clients.is_empty(), USAGE);
    for second in 0_u64.. {
        let lines = clients.iter().map(|(name, totals)| {
            let totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            (name.clone(), json!({ "answers": totals.answers, "failures": totals.failures }))
        });
        let clients: serde_json::Map<_, _> = lines.collect();
        println!("{}", json!({ "second": second, "clients": clients }));
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Since the start.
#[derive(Debug, Default)]
struct Totals {
    answers: u64,
    /// By cause, and how long the request took.
    failures: BTreeMap<String, u64>,
}

fn run(name: &str, target: SocketAddr, is_stream: bool, mut ports: Ports, totals: &Mutex<Totals>) {
    let mut open: Option<BufReader<TcpStream>> = None;
    loop {
        let began = Instant::now();
        let connection = open.take().map_or_else(|| ports.connect(target).map(BufReader::new), Ok);
        let outcome = connection.and_then(|mut connection| {
            request(&mut connection, is_stream)?;
            Ok(connection)
        });
        let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match outcome {
            Ok(connection) => {
                totals.answers += 1;
                open = is_stream.then_some(connection);
            }
            Err(error) => {
                let when = match began.elapsed().as_secs() {
                    0 => "at once",
                    1..5 => "within 5 s",
                    _ => "after 5 s or more",
                };
                let cause = format!("{error} {when}");
                let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
                eprintln!("{now:.3} {name}: {cause}, after {} ms", began.elapsed().as_millis());
                *totals.failures.entry(cause).or_default() += 1;
            }
        }
        drop(totals);
        thread::sleep(PAUSE);
    }
}

/// Local ports, used one after the other.
struct Ports {
    first: u16,
    next: u16,
}

impl Ports {
    fn connect(&mut self, target: SocketAddr) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        for _ in 0..PORTS {
            let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.first + self.next));
            self.next = (self.next + 1) % PORTS;
            match socket.bind(&local.into()) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                result => {
                    result?;
                    socket.connect_timeout(&target.into(), PATIENCE)?;
                    socket.set_read_timeout(Some(PATIENCE))?;
                    return Ok(socket.into());
                }
            }
        }
        Err(Error::new(ErrorKind::AddrInUse, "all local ports of this client are in use"))
    }
}

/// One request, and its whole answer.
fn request(connection: &mut BufReader<TcpStream>, keep: bool) -> Result<()> {
    let header = if keep { "keep-alive" } else { "close" };
    let text = format!("GET /hostname HTTP/1.1\r\nHost: load\r\nConnection: {header}\r\n\r\n");
    connection.get_mut().write_all(text.as_bytes())?;
    let invalid = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(Error::new(ErrorKind::UnexpectedEof, "closed by the server"));
    }
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(invalid(&format!("answer {line:?}")));
    }
    let mut length = None;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
    }
    let mut body = vec![0; length.ok_or_else(|| invalid("no Content-Length"))?];
    connection.read_exact(&mut body)
}
