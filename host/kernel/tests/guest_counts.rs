//! Exact counts on a real kernel: messages, system calls on netlink sockets, and processes for a cold start of
//! 1,000 services with 10 endpoints each, for one additional endpoint, and for a round with nothing to do.
//!
//! Prints the table shown by `cargo xtask bench`. Times are printed for orientation only: the guest's processor is
//! emulated.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use weir_core::cluster::Event;
use weir_core::net::Family;
use weir_core::node::{Capabilities, NodeView, ProxyConfig};
use weir_core::objects::Endpoint;
use weir_core::planner::Planner;
use weir_core::policy::BuiltIn;
use weir_core::sync::Syncer;
use weir_kernel::Linux;
use weir_kernel::linux::Effort;
use weir_world::build;

const SERVICES: u16 = 1000;
const ENDPOINTS: u16 = 10;

/// kube-proxy 1.37.2 doing the same work: counted in its source, per family and synchronisation. Times were
/// measured in a guest like this one.
const REFERENCE: [(&str, &str); 3] = [
    ("cold start", "2,064 processes, 14,000 IPVS requests, about 65,000 own system calls; 75 s"),
    ("one endpoint more", "55 processes, 3,001 IPVS requests, about 12,000 own system calls; 4 to 7 s"),
    ("nothing to do", "55 processes, 3,001 IPVS requests, about 12,000 own system calls; every 30 s"),
];

fn service(n: u16) -> Event {
    let [high, low] = n.to_be_bytes();
    build::service(&format!("service-{n:04}")).cluster_ip(Ipv4Addr::new(10, 96, high, low)).port(80).event()
}

fn slice(n: u16, endpoints: u16) -> Event {
    let [high, low] = n.to_be_bytes();
    let endpoint = |i: u16| Endpoint {
        node: Some(format!("node-{i}").into()),
        ..build::endpoint(Ipv4Addr::new(10, 128 + i as u8, high, low))
    };
    let name = format!("service-{n:04}");
    build::slice(&name).named(&name).port(8080).endpoints((0..endpoints).map(endpoint)).event()
}

struct Bench {
    planner: Planner,
    syncer: Syncer<Linux>,
}

impl Bench {
    fn new() -> Bench {
        let capabilities = Capabilities { families: vec![Family::V4], ..Capabilities::assumed() };
        let view = NodeView::new("node1", None, None, Vec::new(), ProxyConfig::default(), capabilities);
        let kernel = Linux::new(&[Family::V4]);
        Bench {
            planner: Planner::new(view, Box::new(BuiltIn)),
            syncer: Syncer::new(kernel, std::time::Duration::from_secs(30)),
        }
    }

    /// Runs one round. Returns its effort, its duration and the number of changes.
    fn round(&mut self) -> (Effort, Duration, usize) {
        let before = self.syncer.kernel().effort();
        let start = Instant::now();
        self.planner.update(0);
        let round = self
            .syncer
            .round(self.planner.desired(), std::time::Duration::ZERO)
            .expect("the kernel can be read");
        for (change, outcome) in &round.changes {
            assert_eq!(outcome, &Ok(()), "{change}");
        }
        let took = start.elapsed();
        (self.syncer.kernel().effort() - before, took, round.changes.len())
    }
}

fn show(what: &str, (effort, took, changes): (Effort, Duration, usize)) -> Effort {
    let reference = REFERENCE.iter().find(|(name, _)| *name == what).map_or("", |(_, text)| text);
    let Effort { messages, sends, receives, processes } = effort;
    println!("{what}: {changes} changes, {:.2} s in this emulated guest", took.as_secs_f64());
    println!("  weir        {processes} processes, {messages} messages, {} system calls", sends + receives);
    if !reference.is_empty() {
        println!("  kube-proxy  {reference}");
    }
    effort
}

fn main() {
    if std::env::var_os("WEIR_OWN_NAMESPACE").is_none() {
        run_in_own_namespace();
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("`ip` runs");
    assert!(up.success());
    let mut bench = Bench::new();
    for n in 0..SERVICES {
        bench.planner.apply(service(n));
        bench.planner.apply(slice(n, ENDPOINTS));
    }
    println!("{SERVICES} services with {ENDPOINTS} endpoints each");
    let cold = show("cold start", bench.round());
    bench.planner.apply(slice(500, ENDPOINTS + 1));
    let one = show("one endpoint more", bench.round());
    let nothing = show("nothing to do", bench.round());
    bench.syncer.audit();
    show("audit after a change of rules", bench.round());
    bench.syncer.audit();
    let audit = show("audit", bench.round());

    // One restore, for the only family in use.
    assert_eq!(cold.processes, 1, "processes of a cold start");
    // One message per virtual server, real server and address; the rest creates and fills 17 sets and reads first.
    let floor = u64::from(SERVICES) * u64::from(ENDPOINTS + 2);
    assert_eq!(cold.messages, floor + 36, "messages of a cold start");
    assert!(cold.sends + cold.receives < 65_000 / 20, "system calls of a cold start");
    assert_eq!(one, Effort { messages: 1, sends: 1, receives: 1, processes: 0 }, "one endpoint more");
    assert_eq!(nothing, Effort::default(), "nothing to do");
    assert_eq!(audit.processes, 0, "processes of an audit of untouched rules");
    println!(
        "test counts ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
    );
}

/// Restarts this program in its own network namespace, and exits with its status.
fn run_in_own_namespace() -> ! {
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new("unshare")
        .arg("-n")
        .arg(this)
        .env("WEIR_OWN_NAMESPACE", "1")
        .status()
        .expect("`unshare` runs");
    std::process::exit(status.code().unwrap_or(1));
}
