//! `cargo xtask e2e`: Kubernetes' own tests against a cluster with kubelets.
//!
//! ```text
//!  Go's programs, images ─▶ disk.rs ─┐            ┌ bring_up.rs: API server, nodes, weir's DaemonSet, DNS
//!  weir ─▶ weir.tar ─────────────────┼─ unshare ─▶┤
//!                                    │  (network, ├ kubernetes.rs: e2e.test ─▶ report
//!                                    │  processes)└ scenario.rs: migration, restarts, rolling updates, under traffic.rs
//! ```
//! Everything runs in one process namespace and one network namespace: when the first of these processes exits, for
//! whatever reason, the kernel kills the others and removes the bridge and the taps.

mod bring_up;
mod disk;
mod install;
mod kubernetes;
mod load_balancer;
mod network;
mod node;
mod scenario;
mod traffic;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use scenario::Scenario;

use crate::tally::Counts;
use crate::{cluster, image, process, setup, workspace};

/// A run's own network and processes; they end with the program unshare.
const NAMESPACES: &[&str] = &["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// How long a run may take to clean up after Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tests that need a cloud, or an API server that runs as a pod.
const SKIP: &str = r"\[Feature:|\[Provider:|after restarting apiserver";

/// Options of `cargo xtask e2e`.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// Run only tests whose names match this regular expression
    #[arg(long, value_name = "REGEX", default_value = r"\[sig-network\] Services")]
    focus: String,
    /// Skip tests whose names match this regular expression
    #[arg(long, value_name = "REGEX", default_value = SKIP)]
    skip: String,
    /// Run only the two tests that prove that the setup works
    #[arg(long, conflicts_with = "focus")]
    small: bool,
    /// Run no tests; instead, change the cluster under traffic and count failed requests. If several scenarios are
    /// given, they run one after the other in the same cluster
    #[arg(long, value_enum, value_name = "SCENARIO,…", value_delimiter = ',', conflicts_with_all = ["focus", "small", "list"])]
    scenario: Vec<Scenario>,
    /// Number of updates in the scenario rolling-updates
    #[arg(long, value_name = "N", default_value_t = 20)]
    updates: u32,
    /// Length of the preStop sleep in the scenario rolling-updates, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pre_stop: u32,
    /// Print the names of the tests that would run, and nothing else
    #[arg(long)]
    list: bool,
    /// Stop the tests after this many minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 1440)]
    timeout: u32,
    /// Number of nodes. Each node is a guest with 2 GB of memory and one processor, or with two processors if it is the
    /// only node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Service proxy to install [default: weir, or kube-proxy for the scenario migration]
    #[arg(long, value_enum)]
    proxy: Option<Proxy>,
    /// Use this weir binary instead of building one with the profile `lab`
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
    /// Leave the cluster running after the tests, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Start the cluster and run no tests
    #[arg(long, requires = "keep")]
    no_tests: bool,
    /// Directory for logs and results, which must be empty or not exist yet [default: target/e2e, which is emptied
    /// first]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// The program that generates traffic
    #[arg(long, hide = true)]
    load: Option<PathBuf>,
    /// The plugin of a scenario
    #[arg(long, hide = true)]
    plugin: Option<PathBuf>,
    /// Set when the program already runs inside the namespaces
    #[arg(long, hide = true)]
    inside: bool,
}

/// The service proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Proxy {
    /// weir, from its own image, as the DaemonSet of host/install
    Weir,
    /// The real kube-proxy in IPVS mode, installed by kubeadm
    KubeProxy,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proxy::Weir => "weir",
            Proxy::KubeProxy => "kube-proxy",
        })
    }
}

impl Options {
    fn report(&self) -> PathBuf {
        self.report.clone().unwrap_or_else(|| workspace::target().join("e2e"))
    }

    fn proxy(&self) -> Proxy {
        let migrates = self.scenario.contains(&Scenario::Migration);
        self.proxy.unwrap_or(if migrates { Proxy::KubeProxy } else { Proxy::Weir })
    }

    fn needs_weir(&self) -> bool {
        self.proxy() == Proxy::Weir || self.scenario.contains(&Scenario::Migration)
    }

    fn focus(&self) -> &str {
        if self.small { SMALL } else { &self.focus }
    }

    /// The command line for the run inside its namespaces, where everything is built.
    fn inside(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["e2e".into(), "--inside".into()];
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        for scenario in &self.scenario {
            line.extend(["--scenario".into(), name(scenario.to_possible_value()).into()]);
        }
        if self.scenario.is_empty() {
            line.extend(["--focus".into(), self.focus().into()]);
        }
        for (name, value) in [
            ("--skip", self.skip.clone().into()),
            ("--timeout", self.timeout.to_string().into()),
            ("--nodes", self.nodes.to_string().into()),
            ("--proxy", name(self.proxy().to_possible_value()).into()),
            ("--updates", self.updates.to_string().into()),
            ("--pre-stop", self.pre_stop.to_string().into()),
            ("--report", self.report().into_os_string()),
        ] {
            line.extend([name.into(), value]);
        }
        for (name, is_set) in [("--keep", self.keep), ("--no-tests", self.no_tests)] {
            line.extend(is_set.then(|| name.into()));
        }
        line
    }
}

/// Builds what is missing, and runs the tests.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    if options.inside {
        return bring_up::run(options);
    }
    if let Some(reason) = missing() {
        bail!("{reason}");
    }
    if options.list {
        cluster::build_for_nodes()?;
        return kubernetes::list(options).map(|()| ExitCode::SUCCESS);
    }
    let status = run(options)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tier of `cargo xtask test`: the tests that prove that the setup works, with the program that the other tiers test.
pub(crate) fn tier() -> Result<Counts> {
    let weir = image::build("dev")?;
    let options =
        Options::parse_from([OsString::from("e2e"), "--small".into(), "--weir".into(), weir.into()]);
    let status = run(&options)?;
    let counts = kubernetes::counts(&options.report())?;
    ensure!(
        status.success() || counts.failed > 0,
        "the run failed ({status}); see {}",
        options.report().display()
    );
    Ok(counts)
}

fn run(options: &Options) -> Result<ExitStatus> {
    scenario::check(&options.scenario, options.nodes)?;
    cluster::build_for_nodes()?;
    let report = options.report();
    if options.report.is_none() && report.exists() {
        fs::remove_dir_all(&report).with_context(|| format!("cannot empty {}", report.display()))?;
    }
    fs::create_dir_all(&report).with_context(|| format!("cannot create {}", report.display()))?;
    let mut present = fs::read_dir(&report).with_context(|| format!("cannot list {}", report.display()))?;
    ensure!(
        present.next().is_none(),
        "{} is not empty: give --report an empty or new directory",
        report.display()
    );
    disk::get()?;
    if options.needs_weir() {
        let weir = match &options.weir {
            Some(file) => file.clone(),
            None => image::build("lab")?,
        };
        image::write_weir(&weir, &weir_archive(&report))?;
    }
    let mut line = options.inside();
    if !options.scenario.is_empty() {
        line.extend(["--load".into(), traffic::build()?.into()]);
        let plugin = scenario::build_plugin(&options.scenario)?;
        line.extend(plugin.into_iter().flat_map(|plugin| ["--plugin".into(), plugin.into()]));
    }
    in_namespaces(&line)
}

/// Two tests that prove that the whole setup works.
const SMALL: &str = r"\[sig-network\] Services should (serve a basic endpoint from pods|be able to create a functioning NodePort)";

/// Why a cluster with kubelets cannot run here.
pub(crate) fn missing() -> Option<String> {
    setup::reason().or_else(cluster::missing_for_nodes).or_else(|| {
        let mut probe = Command::new("unshare");
        probe.args(NAMESPACES).args(["ip", "tuntap", "add", "probe", "mode", "tap"]);
        let output = probe.output();
        let is_possible = output.is_ok_and(|output| output.status.success());
        (!is_possible).then(|| "creating process and network namespaces with taps requires root".to_owned())
    })
}

fn weir_archive(report: &Path) -> PathBuf {
    report.join("weir.tar")
}

/// Runs this program again in its own namespaces.
fn in_namespaces(arguments: &[OsString]) -> Result<ExitStatus> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut unshare = Command::new("unshare");
    unshare.args(NAMESPACES).arg(program).args(arguments);
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch signals")?;
    }
    let mut child = Namespaces(process::Killed::start(&mut unshare)?);
    eprintln!("network of this run: nsenter --target {} --net", child.0.id());
    let mut deadline = None;
    loop {
        if let Some(status) = child.0.try_wait().context("cannot wait for unshare")? {
            return Ok(status);
        }
        if interrupted.load(Ordering::Relaxed) && deadline.is_none() {
            deadline = Some(Instant::now() + PATIENCE);
            child.ask_to_end();
        }
        ensure!(deadline.is_none_or(|deadline| Instant::now() < deadline), "stopped by a signal");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The program unshare. When it exits, the kernel kills everything in its namespaces.
struct Namespaces(process::Killed);

impl Namespaces {
    /// Signals the first process in the namespaces, because unshare does not forward signals.
    fn ask_to_end(&self) {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
            // It may have exited already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}
