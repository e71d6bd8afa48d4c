//! `weir plugin bench`: the cost of a plugin. The times are for comparing plugins on one machine.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use weir_core::cluster::Event;
use weir_core::node::{Capabilities, NodeView, ProxyConfig};
use weir_core::planner::Planner;
use weir_core::policy::BuiltIn;
use weir_k8s::objects::{self, Decoded};
use weir_plugin_views::{Context, Endpoint, Family, Port, Protocol, Service};

use crate::cli::{Output, PluginFileArguments};
use crate::output::say;

/// How often each measurement is repeated; the median is shown.
const ROUNDS: usize = 15;

/// Services in a full call.
const BATCH: u32 = 256;

/// Measures and prints.
pub(super) fn bench(arguments: &PluginFileArguments) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    // The plugin would write the same lines again and again.
    let artifact = super::taken(arguments, LevelFilter::ERROR)?;
    let mut rows = vec![("load and compile".to_owned(), start.elapsed())];
    rows.push(("instantiate and configure".to_owned(), median(|| Ok(artifact.start_once()?))?));
    for endpoints in [10, 100] {
        let planner = planner(endpoints)?;
        let (views, around) = (planner.views(), planner.surroundings(0));
        let time = median(|| {
            artifact.lower(&views, &around);
            Ok(())
        })?;
        rows.push((format!("records of {} services of {endpoints} endpoints", views.len()), time));
    }
    for interface in artifact.facts().interfaces.clone() {
        for (count, endpoints) in [(1, 10), (BATCH, 0), (BATCH, 10), (BATCH, 100)] {
            let services = services(count, endpoints);
            let context =
                Context { node: "bench".to_owned(), now: Some(crate::inputs::now()), ..Context::default() };
            let time = median(|| {
                artifact.replay(interface, context.clone(), services.clone(), &[])?;
                Ok(())
            })?;
            rows.push((format!("{interface}: {count} services of {endpoints} endpoints"), time));
        }
    }
    let facts = artifact.facts();
    if arguments.output == Output::Json {
        let row = |(what, time): &(String, Duration)| json!({"what": what, "microseconds": time.as_micros()});
        let times: Vec<_> = rows.iter().map(row).collect();
        say!("{:#}", json!({"times": times, "memory": facts.memory, "bytes": facts.bytes}));
    } else {
        for (what, time) in &rows {
            say!("{what:<45} {:>13}", readable(*time));
        }
        let memory = format!("{} KiB", facts.memory.div_ceil(1024));
        say!("{:<45} {memory:>13}", "memory of a configured instance");
    }
    Ok(ExitCode::SUCCESS)
}

/// Formats a time in a unit that leaves a few digits.
fn readable(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        1e-3.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.1} µs", seconds * 1e6),
    }
}

fn median(mut measure: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        measure()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[ROUNDS / 2])
}

/// A planner that knows services with this many endpoints each.
fn planner(endpoints: u32) -> anyhow::Result<Planner> {
    let node =
        NodeView::new("bench", None, None, Vec::new(), ProxyConfig::default(), Capabilities::assumed());
    let mut planner = Planner::new(node, Box::new(BuiltIn));
    for n in 0..BATCH {
        let name = format!("service-{n}");
        let service = json!({
            "metadata": {"namespace": "bench", "name": name, "labels": {"app": name}},
            "spec": {"clusterIP": Ipv4Addr::from(0x0a60_0000 + n).to_string(), "ports": [{"port": 80}]},
        });
        let addresses = (0..endpoints).map(|i| Ipv4Addr::from(0x0a80_0000 + n * 256 + i).to_string());
        let slice = json!({
            "metadata": {"namespace": "bench", "name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": addresses.map(|address| json!({"addresses": [address]})).collect::<Vec<_>>(),
            "ports": [{"name": "", "port": 8080}],
        });
        let (Decoded::Here(service), Decoded::Here(slice)) =
            (objects::service(&service).0, objects::endpoint_slice(&slice).0)
        else {
            bail!("weir refuses the benchmark's own objects; this is a bug in weir");
        };
        planner.apply(Event::Service(Box::new(service)));
        planner.apply(Event::Slice(Box::new(slice)));
    }
    Ok(planner)
}

/// Services with one port and this many endpoints.
fn services(count: u32, endpoints: u32) -> Vec<Service> {
    let endpoint = |i: u32| Endpoint {
        address: (Ipv4Addr::from(0x0a00_0000 + i), 8080).into(),
        ready: true,
        serving: true,
        terminating: false,
        local: false,
        internal: true,
        external: true,
        zone: None,
        node: None,
        slice: None,
        ready_since: None,
    };
    let port = Port {
        name: "http".to_owned(),
        family: Family::Ipv4,
        protocol: Protocol::Tcp,
        port: 80,
        node_port: 0,
        app_protocol: String::new(),
        vips: Vec::new(),
        endpoints_total: endpoints,
        endpoints_local: 0,
        endpoints: (0..endpoints).map(endpoint).collect(),
        statistics: Vec::new(),
    };
    let service = |i| Service {
        namespace: "bench".to_owned(),
        name: format!("service-{i}"),
        service_type: "ClusterIP".to_owned(),
        ports: vec![port.clone()],
        ..Service::default()
    };
    (0..count).map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_that_suits_them() {
        let said = [2_500_000_000, 1_240_000, 999_940, 3_100].map(|ns| readable(Duration::from_nanos(ns)));
        assert_eq!(said, ["2.50 s", "1.24 ms", "999.9 µs", "3.1 µs"]);
    }
}
