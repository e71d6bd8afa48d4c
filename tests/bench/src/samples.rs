//! Measures the cost of sampling services for a plugin, and of applying its decisions: the real daemon against a
//! kernel in memory with growing counters and its own clock. Each real server is decoded from bytes of a real
//! kernel, as netlink would deliver them; the kernel's own work and the system calls are not included.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use weir_core::diff::Change;
use weir_core::kernel::{Connections, Fact, Kernel, Outcome, ReadError, Unread};
use weir_core::net::{Family, PerFamily};
use weir_core::node::{Capabilities, HostAddress, ProxyConfig};
use weir_core::objects::Service;
use weir_core::policy::{BuiltIn, Decided, Policy, Surroundings};
use weir_core::readiness::Readiness;
use weir_core::rule::Extension;
use weir_core::sampling::{Reading, Readings, Totals, Wish};
use weir_core::simulated::Simulated;
use weir_core::state::{RealServer, VirtualServer};
use weir_core::view::ServiceView;
use weir_daemon::{Daemon, Host, Input, Listed, Output, Setup};
use weir_netlink::ipvs::Message;

use crate::{objects, policies};

const SERVICES: u32 = 100;
const ENDPOINTS: u32 = 20;

/// How long counters are measured, after weights have settled.
const SETTLING: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_secs(60);

/// Connections opened at an endpoint per second, and how long one takes; half of the endpoints take twice as long.
const BEGUN: f64 = 50.0;
const TAKEN: f64 = 0.02;

/// Answers of a real kernel, one datagram per line.
const RECORDED: &str = include_str!("../../../host/netlink/tests/recorded/ipvs.txt");

/// Measures sampling alone, and with a plugin that uses the counters.
pub(crate) fn measure(plugin: &Path, json: bool) -> Result<()> {
    let settings = json!({"period": "1s"});
    let (name, followed) = policies::plugin(plugin, settings)?;
    let rows: [(&str, Box<dyn Policy>); 2] = [("none", Box::new(Wishing)), (&name, followed)];
    if !json {
        println!("\n{SERVICES} services with {ENDPOINTS} endpoints, sampled each second");
        println!(
            "{:<12} {:>14} {:>10} {:>16} {:>14}",
            "plugin", "% of a core", "readings", "decoding alone %", "changes"
        );
    }
    for (name, policy) in rows {
        let row = follow(policy)?;
        let percent = |time: Duration| time.as_secs_f64() * 100.0 / MEASURED.as_secs_f64();
        let (all, decoding) = (percent(row.used), percent(row.decoding));
        if json {
            let round = |value: f64| (value * 1000.0).round() / 1000.0;
            println!(
                "{}",
                json!({
                    "sampled_services": SERVICES, "endpoints": ENDPOINTS, "policy": name,
                    "percent_of_a_core": round(all), "decoding_percent": round(decoding),
                    "readings": row.readings, "changes": row.changes,
                })
            );
        } else {
            println!("{name:<12} {all:>14.2} {:>10} {decoding:>16.2} {:>14}", row.readings, row.changes);
        }
    }
    Ok(())
}

/// Resource usage during [`MEASURED`].
struct Row {
    used: Duration,
    decoding: Duration,
    readings: u64,
    changes: usize,
}

fn follow(policy: Box<dyn Policy>) -> Result<Row> {
    let setup = Setup {
        node_name: "bench".to_owned(),
        bind_address: None,
        proxy: ProxyConfig::default(),
        capabilities: Capabilities::assumed(),
        from_api_server: false,
        epoch: 1_700_000_000,
        configured: true,
        readiness: Readiness::default(),
    };
    let mut daemon = Daemon::new(setup, Machine::new()?, policy);
    let events = (1..=SERVICES).flat_map(|n| [objects::service(n), objects::slice(n, ENDPOINTS, true)]);
    let events = events.collect::<Result<Vec<_>>>()?;
    daemon.step(Input::Objects { events, listed: Listed::ALL }, Duration::ZERO);
    run(&mut daemon, SETTLING)?;
    let machine = daemon.host();
    (machine.readings, machine.decoding, machine.pretending) = Default::default();
    let start = processor()?;
    let changes = run(&mut daemon, SETTLING + MEASURED)?;
    let used = processor()?.saturating_sub(start);
    let machine = daemon.host();
    anyhow::ensure!(machine.readings >= 59 * u64::from(SERVICES), "only {} readings", machine.readings);
    Ok(Row {
        used: used.saturating_sub(machine.pretending),
        decoding: machine.decoding,
        readings: machine.readings,
        changes,
    })
}

/// Advances time, and counts the changes to the kernel.
fn run(daemon: &mut Daemon<Machine>, until: Duration) -> Result<usize> {
    let mut changes = 0;
    loop {
        let now = daemon.next().max(daemon.host().clock);
        if now > until {
            return Ok(changes);
        }
        daemon.host().clock = now;
        for output in daemon.step(Input::Time, now) {
            if let Output::Round(done) = output {
                anyhow::ensure!(done.round.succeeded(), "a round failed");
                changes += done.round.changes.len();
            }
        }
    }
}

/// The processor time of all threads of this process.
fn processor() -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let told = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += told.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A policy that decides like kube-proxy, and requests counters without using them.
#[derive(Clone)]
struct Wishing;

impl Policy for Wishing {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        BuiltIn.decide(views, around)
    }

    fn wishes(&self, _: &Service) -> BTreeSet<Wish> {
        [Wish { period: 1, memory: 20 }].into()
    }
}

/// A machine whose real servers have connections.
struct Machine {
    kernel: Simulated,
    clock: Duration,
    /// A real server with its counters, as sent by a kernel.
    recorded: Vec<u8>,
    readings: u64,
    decoding: Duration,
    /// Time spent generating numbers, which weir does not do.
    pretending: Duration,
}

impl Machine {
    fn new() -> Result<Machine> {
        Ok(Machine {
            kernel: Simulated::default(),
            clock: Duration::ZERO,
            recorded: recorded().context("no real server in the recording")?,
            readings: 0,
            decoding: Duration::ZERO,
            pretending: Duration::ZERO,
        })
    }
}

/// The first real server in the recording, without its netlink header.
fn recorded() -> Option<Vec<u8>> {
    let datagrams = RECORDED.lines().filter_map(|line| line.strip_prefix("< "));
    let bytes = |text: &str| -> Option<Vec<u8>> {
        let pair = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
        (0..text.len()).step_by(2).map(pair).collect()
    };
    for datagram in datagrams.filter_map(bytes) {
        let mut rest = &datagram[..];
        while let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes) as usize) {
            let message = rest.get(16..length)?;
            let destination =
                Message::decode(message).and_then(|it| it.destination(weir_netlink::Family::V4));
            if destination.is_ok() {
                return Some(message.to_vec());
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    None
}

impl Kernel for Machine {
    fn read(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<Unread, ReadError> {
        self.kernel.read(see)
    }

    fn execute(&mut self, batch: &[Change]) -> Vec<Outcome> {
        self.kernel.execute(batch)
    }

    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        self.kernel.connections(servers)
    }
}

impl Host for Machine {
    fn time(&mut self) -> Duration {
        self.clock
    }

    fn addresses(&mut self) -> Result<Vec<HostAddress>, ReadError> {
        Ok(Vec::new())
    }

    fn is_untouched(&mut self) -> bool {
        false
    }

    fn sample(&mut self, server: VirtualServer) -> Readings {
        self.readings += 1;
        let start = Instant::now();
        let seconds = self.clock.as_secs_f64();
        let reading = |(real, weight): (RealServer, weir_core::state::Weight)| {
            let number = match real.0.ip() {
                IpAddr::V4(address) => u32::from(address),
                IpAddr::V6(_) => 0,
            };
            let taken = if number % 2 == 0 { TAKEN } else { 2.0 * TAKEN };
            // The average, rounded up or down.
            let chance = (number.wrapping_mul(0x9e37_79b9) ^ seconds as u32).wrapping_mul(0x85eb_ca6b) >> 30;
            let active = (BEGUN * taken) as u32 + chance.min(2);
            let connections = (BEGUN * seconds) as u64;
            let totals = Totals { connections, bytes_in: connections * 500, bytes_out: connections * 5000 };
            let weight = weight.0.into();
            (real.0, Reading { active, inactive: 100, weight, totals })
        };
        let servers: Vec<_> = self.kernel.state().real_servers_of(server).map(reading).collect();
        let decoding = Instant::now();
        self.pretending += decoding - start;
        for _ in &servers {
            let message = Message::decode(black_box(&self.recorded)).ok()?;
            black_box(message.destination(weir_netlink::Family::V4).ok()?);
        }
        self.decoding += decoding.elapsed();
        Some(servers.into_iter().collect())
    }

    fn clear_device(&mut self) {}

    fn missing_extensions(&mut self, _: &[Family]) -> PerFamily<BTreeSet<Extension>> {
        PerFamily::default()
    }
}
