//! Measures planning and rounds without a kernel: the real planner and the real rounds against a kernel in memory.

use std::alloc::System;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cap::Cap;
use clap::Parser;
use serde_json::{Value, json};
use weir_core::cluster::Event;
use weir_core::node::{Capabilities, NodeView, ProxyConfig};
use weir_core::planner::Planner;
use weir_core::policy::{BuiltIn, Policy};
use weir_core::simulated::Simulated;
use weir_core::sync::{Round, Syncer};

mod objects;
mod policies;
mod samples;

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// Number of services, and endpoints of each.
const CLUSTERS: [(u32, u32); 4] = [(1_000, 10), (10_000, 10), (30_000, 10), (5_000, 50)];

/// How often a change is measured; the result is the median.
const CHANGES: u32 = 101;

/// Measures planning and rounds against a kernel in memory.
#[derive(Parser)]
struct Arguments {
    /// Also measure with this plugin.
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Also measure sampling with this plugin, which reads counters.
    #[arg(long)]
    sampler: Option<PathBuf>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// The measurements for one cluster.
struct Row {
    services: u32,
    endpoints: u32,
    policy: String,
    cold_plan: Duration,
    cold_round: Duration,
    change: Duration,
    add: Duration,
    remove: Duration,
    audit: Duration,
    bytes: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.json {
        println!(
            "{:>8} {:>9} {:<10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "services",
            "endpoints",
            "policy",
            "cold plan",
            "cold round",
            "change",
            "add",
            "remove",
            "audit",
            "memory"
        );
        println!(
            "{:>8} {:>9} {:<10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "each", "", "µs each", "µs each", "µs", "µs", "µs", "ms", "B each"
        );
    }
    for (services, endpoints) in CLUSTERS {
        show(&measure(services, endpoints, "built-in", Box::new(BuiltIn))?, arguments.json);
        if let Some(file) = &arguments.plugin {
            let (name, policy) = policies::plugin(file, Value::Null)?;
            show(&measure(services, endpoints, &name, policy)?, arguments.json);
        }
    }
    arguments.sampler.map_or(Ok(()), |file| samples::measure(&file, arguments.json))
}

fn show(row: &Row, json: bool) {
    let Row { services, endpoints, policy, cold_plan, cold_round, change, add, remove, audit, bytes } = row;
    let micros = |time: &Duration| time.as_secs_f64() * 1e6;
    let each = |time: &Duration| micros(time) / f64::from(*services);
    let bytes = *bytes as f64 / f64::from(*services);
    if json {
        let round = |value: f64| (value * 10.0).round() / 10.0;
        println!(
            "{}",
            json!({
                "services": services,
                "endpoints": endpoints,
                "policy": policy,
                "cold_plan_us_per_service": round(each(cold_plan)),
                "cold_round_us_per_service": round(each(cold_round)),
                "change_us": round(micros(change)),
                "add_service_us": round(micros(add)),
                "remove_service_us": round(micros(remove)),
                "audit_ms": round(micros(audit) / 1e3),
                "bytes_per_service": bytes.round(),
            })
        );
    } else {
        println!(
            "{services:>8} {endpoints:>9} {policy:<10} {:>10.1} {:>10.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {bytes:>9.0}",
            each(cold_plan),
            each(cold_round),
            micros(change),
            micros(add),
            micros(remove),
            micros(audit) / 1e3
        );
    }
}

/// A planner, and the kernel in memory that it programs.
struct Node {
    planner: Planner,
    syncer: Syncer<Simulated>,
    started: Instant,
}

impl Node {
    fn tell(&mut self, event: Result<Event>) -> Result<()> {
        self.planner.apply(event?);
        Ok(())
    }

    fn round(&mut self) -> Result<Round> {
        let round = self.syncer.round(self.planner.desired(), self.started.elapsed())?;
        anyhow::ensure!(round.succeeded(), "a round failed");
        Ok(round)
    }

    /// The time from news to a kernel in the desired state.
    fn change(
        &mut self,
        events: impl IntoIterator<Item = Result<Event>>,
        changes: usize,
    ) -> Result<Duration> {
        let events: Vec<Event> = events.into_iter().collect::<Result<_>>()?;
        let start = Instant::now();
        for event in events {
            self.planner.apply(event);
        }
        self.planner.update(0);
        let round = self.round()?;
        let took = start.elapsed();
        anyhow::ensure!(
            round.changes.len() == changes,
            "{} changes, expected {changes}",
            round.changes.len()
        );
        Ok(took)
    }
}

fn measure(services: u32, endpoints: u32, name: &str, policy: Box<dyn Policy>) -> Result<Row> {
    let before = ALLOCATED.allocated();
    let view =
        NodeView::new("bench", None, None, Vec::new(), ProxyConfig::default(), Capabilities::assumed());
    let syncer = Syncer::new(Simulated::default(), Duration::from_secs(30));
    let mut node = Node { planner: Planner::new(view, policy), syncer, started: Instant::now() };
    for n in 0..services {
        node.tell(objects::service(n))?;
        node.tell(objects::slice(n, endpoints, true))?;
    }
    let start = Instant::now();
    node.planner.update(0);
    let cold_plan = start.elapsed();
    let start = Instant::now();
    node.round().context("the first round failed")?;
    let cold_round = start.elapsed();

    let (mut change, mut add, mut remove) = (Vec::new(), Vec::new(), Vec::new());
    let new = services;
    let facts = endpoints as usize + 4;
    for round in 0..CHANGES {
        let n = 1 + (round * 97) % (services - 1);
        change.push(node.change([objects::slice(n, endpoints, false)], 1)?);
        change.push(node.change([objects::slice(n, endpoints, true)], 1)?);
        add.push(node.change([objects::service(new), objects::slice(new, endpoints, true)], facts)?);
        let (Event::Service(service), Event::Slice(slice)) =
            (objects::service(new)?, objects::slice(new, endpoints, true)?)
        else {
            anyhow::bail!("the bench's own objects have the wrong kind");
        };
        let gone = [Event::ServiceGone(service.name), Event::SliceGone(slice.name)];
        remove.push(node.change(gone.map(Ok), 4)?);
    }
    node.syncer.audit();
    let start = Instant::now();
    let round = node.round().context("an audit failed")?;
    let audit = start.elapsed();
    anyhow::ensure!(round.changes.is_empty(), "an audit changed something");

    // weir's memory, without the kernel in memory.
    *node.syncer.kernel() = Simulated::default();
    let bytes = ALLOCATED.allocated().saturating_sub(before);
    let policy = name.to_owned();
    Ok(Row {
        services,
        endpoints,
        policy,
        cold_plan,
        cold_round,
        change: median(change),
        add: median(add),
        remove: median(remove),
        audit,
        bytes,
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
