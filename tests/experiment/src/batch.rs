//! Runs arms side by side, load after load, and computes the results.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, setrlimit};
use weir_core::net::Protocol;
use weir_lab::load::{Load, loads};
use weir_lab::outcome::{Outcome, Slice, percentile};
use weir_lab::traffic::Traffic;

use crate::PlayOptions;
use crate::arm::{Ready, Target, prepare};
use crate::play::{Record, play};
use crate::pod::refuses;
use crate::row::{Machine, Row};
use crate::stage::Processors;

/// Open files: both ends of each connection are here, and an overloaded pod has thousands of connections.
const FILES: u64 = 65_536;

/// Number of nodes whose weights are read: each reading takes a process.
const WATCHED: usize = 5;

/// The loads of the only service in a traffic file.
pub(crate) fn loads_of(traffic: &Traffic, endpoints: &[SocketAddr]) -> Result<Vec<Load>> {
    let [service] = traffic.services.as_slice() else {
        anyhow::bail!("the traffic file must have exactly one service")
    };
    ensure!(
        service.endpoints.iter().all(|group| group.queue.is_none()),
        "pods with a limited queue are not supported"
    );
    Ok(loads(traffic, service, endpoints)?)
}

/// The name of a traffic file.
pub(crate) fn name_of(traffic: &Path) -> String {
    traffic.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs everything, and prints a line for each arm, load and seed as it finishes.
pub(crate) fn all(file: &Path, options: &PlayOptions) -> Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).context("cannot raise the limit of open files")?;
    let traffic = Traffic::load(file).with_context(|| format!("--traffic {}", file.display()))?;
    let target = Target::plan(&options.weir, &options.manifests)?;
    let mut loads = loads_of(&traffic, &target.endpoints)?;
    loads.retain(|load| options.loads.is_empty() || options.loads.contains(&load.rate.to_string()));
    ensure!(!loads.is_empty(), "the traffic file contains none of the loads {:?}", options.loads);
    let seeds = if options.seeds.is_empty() { &traffic.seeds } else { &options.seeds };
    for arms in options.arms.chunks(options.beside.max(1)) {
        let prepared = arms.iter().map(|&arm| {
            prepare(arm, traffic.client_nodes.count(), &target, &options.weir, &options.manifests)
        });
        let mut ready = prepared.collect::<Result<Vec<_>>>()?;
        for load in &loads {
            for seed in seeds {
                let names: Vec<String> = arms.iter().map(|arm| arm.name()).collect();
                println!("{}, seed {seed}, {}", load.rate, names.join(" "));
                for row in side_by_side(&ready, &target, load, *seed, file)? {
                    println!("{}", serde_json::to_string(&row).context("cannot encode a result")?);
                }
                ready
                    .iter_mut()
                    .flat_map(|ready| &mut ready.stage.nodes)
                    .try_for_each(|node| node.weir.as_mut().map_or(Ok(()), |weir| weir.expect_health()))?;
            }
        }
    }
    Ok(())
}

fn side_by_side(all: &[Ready], target: &Target, load: &Load, seed: u64, file: &Path) -> Result<Vec<Row>> {
    let start = Instant::now() + Duration::from_secs(1);
    let until = |time: Duration| thread::sleep((start + time).saturating_duration_since(Instant::now()));
    let (mut played, idle) = thread::scope(|scope| {
        let threads: Vec<_> = all
            .iter()
            .map(|ready| {
                let play = scope.spawn(move || play(&ready.stage, target.server, load, seed, start));
                (play, scope.spawn(move || watch(ready, target, load, start)))
            })
            .collect();
        until(load.warm_up);
        let before = Processors::now()?;
        until(load.warm_up + load.duration);
        let idle = Processors::now()?.idle_since(before);
        let mut played = Vec::new();
        for (play, watch) in threads {
            let records = play.join().ok().context("an arm panicked")??;
            played.push((records, watch.join().ok().context("a watcher panicked")??));
        }
        anyhow::Ok((played, idle))
    })?;
    let rows = all.iter().zip(&mut played).map(|(ready, (records, weights))| {
        let [late_requests_ms, late_answers_ms] = lateness(records, load);
        Row {
            traffic: name_of(file),
            arm: ready.arm.name(),
            load: load.rate.to_string(),
            nodes: load.nodes,
            endpoints: target.endpoints.clone(),
            machine: Machine { beside: all.len(), idle, late_requests_ms, late_answers_ms },
            failures: failures(records, load),
            outcome: outcome(records, std::mem::take(weights), load, seed),
        }
    });
    Ok(rows.collect())
}

/// The mean weights of some nodes at the end of each slice.
type Weights = Vec<Vec<Option<f64>>>;

fn watch(ready: &Ready, target: &Target, load: &Load, start: Instant) -> Result<Weights> {
    let mut weights: Weights = Vec::new();
    for until in slices(load) {
        let all = match weights.last() {
            Some(last) if !ready.arm.moves() => last.clone(),
            _ => {
                thread::sleep((start + until).saturating_duration_since(Instant::now()));
                mean_weights(ready, target)?
            }
        };
        weights.push(all);
    }
    Ok(weights)
}

fn mean_weights(ready: &Ready, target: &Target) -> Result<Vec<Option<f64>>> {
    let mut sums = vec![(0.0, 0.0); target.endpoints.len()];
    for node in ready.stage.nodes.iter().filter(|node| node.weir.is_some()).take(WATCHED) {
        for (address, weight) in node.namespace.real_servers(Protocol::Tcp, target.server)? {
            let place = target.endpoints.iter().position(|endpoint| endpoint.to_string() == address);
            let (sum, count) = &mut sums[place.with_context(|| format!("{address} is not an endpoint"))?];
            *sum += f64::from(weight);
            *count += 1.0;
        }
    }
    Ok(sums.into_iter().map(|(sum, count)| (count > 0.0).then(|| sum / count)).collect())
}

/// The end times of the slices.
fn slices(load: &Load) -> impl Iterator<Item = Duration> {
    let (length, whole) = (load.slice_length(), load.warm_up + load.duration);
    (1..).map(move |number| length * number).take_while(move |until| *until <= whole)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn is_measured(record: &Record, load: &Load) -> bool {
    record.wanted >= nanos(load.warm_up)
}

/// The 99th percentiles of the delays of requests and answers, in milliseconds.
fn lateness(records: &[Record], load: &Load) -> [Option<f64>; 2] {
    let measured = || records.iter().filter(|record| is_measured(record, load));
    let requests = measured().filter_map(|record| Some(record.reached?.saturating_sub(record.wanted)));
    let answers = measured().filter_map(|record| match record.end {
        Some(Ok(end)) => Some(end.saturating_sub(record.due?)),
        _ => None,
    });
    [requests.collect::<Vec<_>>(), answers.collect()].map(|mut late| {
        late.sort_unstable();
        percentile(&late, 0.99)
    })
}

fn failures(records: &[Record], load: &Load) -> BTreeMap<String, u64> {
    let mut failures = BTreeMap::new();
    for record in records.iter().filter(|record| is_measured(record, load)) {
        if let Some(Err(kind)) = record.end {
            *failures.entry(kind.to_string()).or_default() += 1;
        }
    }
    failures
}

/// The pod that has a connection. A refusal does not contain the pod, so it is derived from the description if
/// only one pod refuses.
fn endpoint_of(record: &Record, load: &Load) -> Option<usize> {
    record.endpoint.or_else(|| {
        let refusing = |(_, behaviour): &(usize, &_)| refuses(behaviour, record.wanted);
        let mut all = load.behaviours.iter().enumerate().filter(refusing);
        match (record.end, all.next(), all.next()) {
            (Some(Err(std::io::ErrorKind::ConnectionRefused)), Some((only, _)), None) => Some(only),
            _ => None,
        }
    })
}

/// Computes the same figures as `weir lab`.
fn outcome(records: &[Record], weights: Weights, load: &Load, seed: u64) -> Outcome {
    let mut outcome = Outcome::new(load.addresses.len(), seed);
    let end = nanos(load.warm_up + load.duration);
    let mut timeline: Vec<(Slice, Vec<u64>)> = slices(load)
        .zip(weights)
        .map(|(until, weights)| {
            let slice = Slice { until, weights, connections: vec![0; load.addresses.len()], p99: None };
            (slice, Vec::new())
        })
        .collect();
    let slice_at = |moment: u64| (moment / nanos(load.slice_length())) as usize;
    for record in records {
        let endpoint = endpoint_of(record, load);
        if let (Some((slice, _)), Some(endpoint)) = (timeline.get_mut(slice_at(record.wanted)), endpoint) {
            slice.connections[endpoint] += 1;
        }
        // Requests that still wait at the end count with their age; failed ones have no latency.
        let (ended, latency) = match record.end {
            Some(Ok(moment)) if moment <= end => (Some(moment), Some(moment - record.wanted)),
            Some(Err(_)) => (None, None),
            _ => (None, Some(end.saturating_sub(record.wanted))),
        };
        if let (Some((_, latencies)), Some(latency)) =
            (ended.and_then(|at| timeline.get_mut(slice_at(at))), latency)
        {
            latencies.push(latency);
        }
        if is_measured(record, load) {
            outcome.failed += u64::from(latency.is_none());
            outcome.latencies.extend(latency);
            endpoint.into_iter().for_each(|endpoint| outcome.connections[endpoint] += 1);
        }
    }
    outcome.latencies.sort_unstable();
    outcome.timeline = timeline
        .into_iter()
        .map(|(slice, mut latencies)| {
            latencies.sort_unstable();
            Slice { p99: percentile(&latencies, 0.99), ..slice }
        })
        .collect();
    outcome
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn load() -> Load {
        let traffic = Traffic::parse(
            "{warm-up: 2s, duration: 8s, services: [{service: a/b, loads: [5/s], endpoints: [{time: 1s}, \
             {addresses: [10.0.0.2], time: 1s, refuses: true}]}]}",
        );
        let endpoints = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| address.parse().unwrap());
        loads_of(&traffic.unwrap(), &endpoints).unwrap().remove(0)
    }

    fn record(wanted: u64, endpoint: Option<usize>, end: Option<Result<u64, ErrorKind>>) -> Record {
        Record {
            wanted: wanted * SECOND,
            endpoint,
            end: end.map(|end| end.map(|at| at * SECOND)),
            ..Record::default()
        }
    }

    #[test]
    fn waiting_counts_with_its_age_failing_is_counted_and_the_warm_up_is_not() {
        let records = [
            record(1, Some(0), Some(Ok(9))),
            record(2, Some(0), Some(Ok(5))),
            record(3, None, Some(Err(ErrorKind::ConnectionRefused))),
            record(4, Some(0), None),
            record(5, None, Some(Err(ErrorKind::TimedOut))),
        ];
        let outcome = outcome(&records, vec![vec![Some(1.0), None]; 10], &load(), 7);
        assert_eq!(outcome.latencies, [3 * SECOND, 6 * SECOND]);
        assert_eq!((outcome.failed, outcome.connections.as_slice(), outcome.seed), (2, [2, 1].as_slice(), 7));
        assert_eq!(outcome.timeline.len(), 10);
        assert_eq!(
            (outcome.timeline[1].connections.as_slice(), outcome.timeline[1].p99),
            ([1, 0].as_slice(), None)
        );
        assert_eq!(outcome.timeline[9].p99, Some(8000.0));
        assert_eq!(outcome.timeline[3].connections, [0, 1]);
        assert_eq!(failures(&records, &load()).len(), 2);
    }

    #[test]
    fn lateness_is_what_the_machine_adds() {
        let late = |request: u64, answer: u64| Record {
            reached: Some(3 * SECOND + request),
            due: Some(4 * SECOND),
            ..record(3, Some(0), Some(Ok(4))).with_end(4 * SECOND + answer)
        };
        assert_eq!(lateness(&[late(5_000_000, 7_000_000)], &load()), [Some(5.0), Some(7.0)]);
        assert_eq!(lateness(&[], &load()), [None; 2]);
    }

    impl Record {
        fn with_end(self, at: u64) -> Record {
            Record { end: Some(Ok(at)), ..self }
        }
    }
}
