//! Both programs on two identical nodes.

use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_cluster::Client;
use weir_harness::netns::Netns;
use weir_harness::patience;
use weir_harness::weir::{Running, run_confined};
use weir_harness::witness::{self, Dump};
use weir_parity::World;
use weir_parity::delivery::Delivery;
use weir_parity::explained::{self, Difference};
use weir_parity::proxy::{Access, KubeProxy};

use crate::Arguments;

/// How long the two may differ after both have seen everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node's interface, as in the recorded scenarios.
const ADDRESSES: &[&str] = &["10.0.2.15/24", "fec0::5054:ff:fe12:3456/64", "fec0::15/64"];

pub(crate) struct Stage<'a> {
    arguments: &'a Arguments,
    delivery: Delivery,
    nodes: Option<Nodes>,
    step: u16,
    /// Whether it was proved that differences are detected.
    proven: bool,
}

/// The two programs with a configuration, each on its own node.
struct Nodes {
    // Dropped in this order: the programs, then what they use.
    kube_proxy: KubeProxy,
    weir: Running,
    _access: Access,
    theirs: Netns,
    ours: Netns,
    config: Value,
}

/// The result of comparing a state.
pub(crate) struct Comparison {
    pub(crate) unexplained: Vec<Difference>,
    pub(crate) explained: usize,
    pub(crate) times: Times,
    pub(crate) node: Value,
    pub(crate) objects: Value,
    /// kube-proxy's kernel state.
    pub(crate) recording: String,
}

/// Durations of the steps of a comparison, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// Until kube-proxy had seen everything.
    kube_proxy: Duration,
    /// Until weir had seen everything too, if that was later.
    weir: Duration,
    /// Until both kernels were read and equal.
    kernels: Duration,
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Times) {
        self.kube_proxy += other.kube_proxy;
        self.weir += other.weir;
        self.kernels += other.kernels;
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times { kube_proxy, weir, kernels } = self;
        let [kube_proxy, weir, kernels] = [kube_proxy, weir, kernels].map(Duration::as_secs_f64);
        write!(f, "{kube_proxy:.1} s kube-proxy, {weir:.1} s weir, {kernels:.1} s kernels")
    }
}

impl Stage<'_> {
    pub(crate) fn new(arguments: &Arguments) -> Result<Stage<'_>> {
        // Every node has it; kube-proxy exits without it.
        Netns::own().run("modprobe", &["nf_conntrack"])?;
        let client = Client::from_kubeconfig(&arguments.programs.kubeconfig)?;
        Ok(Stage { arguments, delivery: Delivery::new(client)?, nodes: None, step: 0, proven: false })
    }

    /// Gives both programs this configuration. If it changed, they are started again on fresh nodes.
    pub(crate) fn configure(&mut self, config: &Value) -> Result<()> {
        if self.nodes.as_ref().is_some_and(|nodes| nodes.config == *config) {
            return Ok(());
        }
        self.nodes = None;
        // kube-proxy waits for its Node.
        self.delivery.deliver(&World::empty(self.step))?;
        self.nodes = Some(Nodes::start(self.arguments, config)?);
        Ok(())
    }

    /// Sends a state to the API server without waiting. Returns what it refused.
    pub(crate) fn deliver(&mut self, world: &mut World) -> Result<Vec<String>> {
        self.step += 1;
        world.set_step(self.step);
        Ok(self.delivery.deliver(world)?.refused)
    }

    /// Waits until both have seen the state delivered last, and compares the resulting kernels.
    pub(crate) fn compare(&mut self, world: &World) -> Result<Comparison> {
        let nodes = self.nodes.as_mut().context("cannot compare without a configuration")?;
        let mut watch = StopWatch::start();
        let mut times = Times::default();
        await_mark(world, &nodes.theirs)
            .with_context(|| format!("kube-proxy; {}", nodes.kube_proxy.log_tail()))?;
        times.kube_proxy = watch.lap();
        await_mark(world, &nodes.ours).map_err(|error| nodes.weir.blame(&error.context("weir")))?;
        times.weir = watch.lap();
        let (unexplained, explained, printed) = nodes.settle(PATIENCE)?;
        times.kernels = watch.lap();
        if unexplained.is_empty() && !self.proven {
            nodes.prove_that_differences_show()?;
            self.proven = true;
        }
        nodes.kube_proxy.expect_health()?;
        let (node, objects) = self.delivery.manifests()?;
        Ok(Comparison {
            unexplained,
            explained,
            times,
            node,
            objects,
            recording: witness::recording(&printed),
        })
    }

    pub(crate) fn logs(&self) -> String {
        let Some(Nodes { kube_proxy, weir, .. }) = &self.nodes else { return String::new() };
        format!("{}\n\nweir: {}\n", kube_proxy.log_tail(), weir.log_tail())
    }
}

impl Nodes {
    fn start(arguments: &Arguments, config: &Value) -> Result<Nodes> {
        let node = || {
            let netns = Netns::new()?;
            netns.add_interface("eth0", "52:54:00:12:34:56", ADDRESSES).map(|()| netns)
        };
        let (theirs, ours) = (node()?, node()?);
        let kube_proxy = KubeProxy::start(
            &arguments.programs.kube_proxy,
            &arguments.programs.proxy_kubeconfig,
            config,
            &theirs,
        )?;
        // With kube-proxy's permissions: weir must not need more.
        let access = Access::new(&arguments.programs.proxy_kubeconfig, config, &ours)?;
        let config_file = ["--config".into(), access.config.clone().into()];
        let weir = run_confined(|program| ours.command(program), &arguments.programs.weir, &config_file)?;
        let config = config.clone();
        Ok(Nodes { kube_proxy, weir, _access: access, theirs, ours, config })
    }

    /// Returns the remaining differences, the number of explained ones, and the printed state of kube-proxy's
    /// kernel.
    fn settle(&self, patience: Duration) -> Result<(Vec<Difference>, usize, String)> {
        let start = Instant::now();
        loop {
            let printed = witness::printed(&self.theirs)?;
            let differences = Dump::of(&self.ours)?.differences(&Dump::printed(&printed));
            let (unexplained, explained) = explained::unexplained(&differences);
            if unexplained.is_empty() || start.elapsed() > patience {
                return Ok((unexplained, explained, printed));
            }
        }
    }

    /// A comparison that cannot detect anything must not pass as one without differences.
    fn prove_that_differences_show(&self) -> Result<()> {
        let shows =
            |found: &[Difference]| ["ipset", "ipvs"].iter().all(|s| found.iter().any(|d| d.section == *s));
        let mut unexplained = Vec::new();
        // kube-proxy removes unknown virtual servers, perhaps before they are compared.
        for _ in 0..5 {
            self.theirs.script("ipset create parity-proof hash:ip\nipvsadm -A -t 192.0.2.200:81")?;
            (unexplained, ..) = self.settle(Duration::ZERO)?;
            self.theirs.script("ipset destroy parity-proof\nipvsadm -D -t 192.0.2.200:81 || true")?;
            if shows(&unexplained) {
                break;
            }
        }
        ensure!(
            shows(&unexplained),
            "a foreign set and a foreign virtual server were not reported as differences: {unexplained:?}"
        );
        Ok(())
    }
}

fn await_mark(world: &World, netns: &Netns) -> Result<()> {
    // kube-proxy is slow with many objects on a busy machine.
    patience::until(patience::GENEROUS * 2, || {
        let text = netns.run("ipvsadm", &["-Sn"])?;
        let lines: Vec<String> = text.lines().map(|line| format!("{} ", line.trim_end())).collect();
        ensure!(world.is_marked(&lines), "the mark of this state is missing");
        Ok(())
    })
}

/// Measures the duration of consecutive steps.
struct StopWatch {
    since: Instant,
}

impl StopWatch {
    fn start() -> StopWatch {
        StopWatch { since: Instant::now() }
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.since, now)
    }
}
