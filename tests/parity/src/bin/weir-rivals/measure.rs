//! What is measured for each proxy, and in which order.

use std::hint::black_box;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use weir_cluster::Client;
use weir_harness::netns::Netns;

use crate::Arguments;
use crate::objects::{self, ENDPOINTS, PROBES, Service, probe_endpoint};
use crate::rival::{Kind, Rival};
use crate::stage::Stage;

/// Time limit for a cold start.
const COLD: Duration = Duration::from_secs(900);

/// Time limit for one change.
const CHANGE: Duration = Duration::from_secs(300);

/// How long to wait for a proxy to become idle, after its start and after a change, before the measurement
/// continues.
const SETTLE_COLD: Duration = Duration::from_secs(120);
const SETTLE: Duration = Duration::from_secs(20);

/// How long a proxy is watched while nothing but the background changes: two of the periods after which kube-proxy's
/// IPVS mode repeats everything.
const MINUTE: Duration = Duration::from_secs(60);

/// How long a proxy is watched while endpoints drain.
const DRAIN: Duration = Duration::from_secs(30);

/// Number of services queried to detect the end of a cold start, spread evenly over all.
const SAMPLE: u32 = 64;

/// The probes whose endpoints drain; the others are used for changes.
const DRAINED: std::ops::Range<u32> = PROBES / 2..PROBES;

/// Number of arithmetic steps that always take the same time on an idle processor.
const STEPS: u64 = 20_000_000;

/// Measures all proxies in turn; returns how many could not be measured.
pub(crate) fn all(arguments: &Arguments, client: Client) -> Result<usize> {
    // Every node has it; kube-proxy exits without it.
    Netns::own().run("modprobe", &["nf_conntrack"])?;
    let mut run = Run { arguments, client, generation: 0 };
    let mut failed = 0;
    for round in 0..arguments.rounds {
        for &kind in &arguments.only {
            if let Err(error) = run.measure(kind, round) {
                println!("error: {}: {error:#}", kind.name());
                failed += 1;
            }
        }
    }
    Ok(failed)
}

struct Run<'a> {
    arguments: &'a Arguments,
    client: Client,
    /// The generation of the endpoint written last; each change creates a new one.
    generation: u32,
}

/// Results of changes made one after the other.
#[derive(Default)]
struct Changes {
    latency: Vec<Duration>,
    write: Vec<Duration>,
    /// Processor time until the proxy was idle again.
    processor: Vec<Duration>,
    /// Whether the proxy became idle after each change.
    settled: bool,
}

impl Run<'_> {
    fn measure(&mut self, kind: Kind, round: u32) -> Result<()> {
        let say = |what: &str| println!("{}, {} services: {what}", kind.name(), self.arguments.services);
        let speed = calibrate();
        let stage = Stage::new()?;
        let start = Instant::now();
        let mut rival = Rival::start(kind, &self.arguments.programs, &stage.node)?;
        let cold = self.cold_start(&stage, start).map_err(|error| {
            error
                .context(rival.expect_running().err().map_or_else(|| rival.log_tail(), |end| end.to_string()))
        })?;
        let cold_processor = rival.processor_time()?;
        say(&format!("last service answered after {:.1} s", cold.as_secs_f64()));
        // Under background changes a proxy is never idle, so figures that need an idle proxy are not measured.
        let idle = self.arguments.is_quiet();
        let mut settled = idle && rival.settle(SETTLE_COLD)?;
        let start_processor = rival.processor_time()?;
        let minute = watch(&rival, MINUTE)?;
        say(&format!("{:.2} s of processor time in a minute", minute.as_secs_f64()));
        let memory = rival.memory()?;
        let changes = self.changes(&stage, &rival)?;
        settled &= changes.settled;
        say(&format!("changes effective after {:?}", changes.latency));
        let drain = if idle { Some(self.drain(&stage, &rival)?) } else { None };
        rival.expect_running()?;
        let seconds = |time: Duration| round_to(time.as_secs_f64(), 2);
        let millis = |time: Duration| round_to(time.as_secs_f64() * 1e3, 1);
        let all = |times: &[Duration]| times.iter().copied().map(millis).collect::<Vec<_>>();
        println!(
            "{}",
            json!({
                "services": self.arguments.services,
                "endpoints": ENDPOINTS,
                "proxy": kind.name(),
                "round": round,
                "cold_s": seconds(cold),
                "cold_processor_s": seconds(cold_processor),
                "background_per_s": self.arguments.background,
                "settled_processor_s": idle.then(|| seconds(start_processor)),
                "idle_processor_s_per_minute": idle.then(|| seconds(minute)),
                "busy_processor_s_per_minute": (!idle).then(|| seconds(minute)),
                "memory_mb": round_to(memory, 1),
                "change_ms": all(&changes.latency),
                "change_median_ms": millis(median(&changes.latency)),
                "write_median_ms": millis(median(&changes.write)),
                "change_processor_ms": all(&changes.processor),
                "change_processor_median_ms": idle.then(|| millis(median(&changes.processor))),
                "drain_processor_percent":
                    drain.map(|drain| round_to(100.0 * drain.as_secs_f64() / DRAIN.as_secs_f64(), 2)),
                "settled": settled,
                "calibration_ms": [millis(speed), millis(calibrate())],
            })
        );
        Ok(())
    }

    /// The time until a sample of all services has answered.
    fn cold_start(&self, stage: &Stage, start: Instant) -> Result<Duration> {
        let services = self.arguments.services.max(1);
        let mut last = Duration::ZERO;
        for i in 0..SAMPLE {
            let service = Service::Plain(i * (services - 1) / (SAMPLE - 1));
            last = stage.await_answer(service.address(), |_| true, start, COLD)?;
        }
        Ok(last)
    }

    fn changes(&mut self, stage: &Stage, rival: &Rival) -> Result<Changes> {
        let mut changes = Changes { settled: true, ..Changes::default() };
        for i in 0..self.arguments.changes {
            let before = rival.processor_time()?;
            let probe = i % DRAINED.start;
            let (latency, write) = self.change(stage, probe)?;
            changes.latency.push(latency);
            changes.write.push(write);
            if self.arguments.is_quiet() {
                changes.settled &= rival.settle(SETTLE)?;
                changes.processor.push(rival.processor_time()? - before);
            }
        }
        Ok(changes)
    }

    /// Replaces the only endpoint of a probe. Returns the time from just before the request until a connection
    /// reaches the new endpoint, and how long the request itself took.
    fn change(&mut self, stage: &Stage, probe: u32) -> Result<(Duration, Duration)> {
        self.generation += 1;
        let wanted = probe_endpoint(probe, self.generation);
        let start = Instant::now();
        thread::scope(|scope| {
            let judge = scope.spawn(|| {
                let service = Service::Probe(probe).address();
                stage.await_answer(service, |endpoint| endpoint == wanted, start, CHANGE)
            });
            objects::change(&self.client, Service::Probe(probe), self.generation)?;
            let write = start.elapsed();
            let latency = judge.join().ok().context("the client panicked")??;
            Ok((latency, write))
        })
    }

    /// The processor time while connections to replaced endpoints stay open.
    fn drain(&mut self, stage: &Stage, rival: &Rival) -> Result<Duration> {
        let held: Result<Vec<TcpStream>> =
            DRAINED.map(|probe| stage.hold(Service::Probe(probe).address())).collect();
        let held = held?;
        for probe in DRAINED {
            self.generation += 1;
            objects::change(&self.client, Service::Probe(probe), self.generation)?;
        }
        let last = DRAINED.end - 1;
        let wanted = probe_endpoint(last, self.generation);
        let service = Service::Probe(last).address();
        stage.await_answer(service, |endpoint| endpoint == wanted, Instant::now(), CHANGE)?;
        rival.settle(SETTLE)?;
        let processor = watch(rival, DRAIN)?;
        drop(held);
        Ok(processor)
    }
}

/// The processor time of a proxy during a period.
fn watch(rival: &Rival, time: Duration) -> Result<Duration> {
    let before = rival.processor_time()?;
    thread::sleep(time);
    Ok(rival.processor_time()? - before)
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn round_to(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

/// How long a fixed calculation takes now: on a busy machine the emulated processor is not always equally fast.
fn calibrate() -> Duration {
    let start = Instant::now();
    let mut value = 1_u64;
    for step in 0..STEPS {
        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
    }
    start.elapsed()
}
