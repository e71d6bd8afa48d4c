//! Both programs on two nodes that are alike.

use std::fmt;
use std::fs;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use weir_cluster::Client;
use weir_harness::netns::Netns;
use weir_harness::patience;
use weir_harness::weir::{Manifests, Running, Weir};
use weir_harness::witness::{self, Dump};
use weir_parity::World;
use weir_parity::delivery::Delivery;
use weir_parity::explained::{self, Difference};

use crate::Arguments;
use crate::proxy::{self, KubeProxy};

/// How long the two may differ after both have taken note of everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// The guest's own card has these too.
const ADDRESSES: &[&str] = &["10.0.2.15/24", "fec0::5054:ff:fe12:3456/64", "fec0::15/64"];

pub(crate) struct Stage {
    // In this order they are dropped: programs, then what they work with.
    kube_proxy: KubeProxy,
    weir: Running,
    guest: Netns,
    netns: Netns,
    manifests: Manifests,
    delivery: Delivery,
    step: u16,
    _scratch: TempDir,
}

/// What came of a state.
pub(crate) struct Comparison {
    pub(crate) changed: usize,
    pub(crate) refused: Vec<String>,
    pub(crate) unexplained: Vec<Difference>,
    pub(crate) explained: usize,
    pub(crate) times: Times,
    pub(crate) node: Value,
    pub(crate) objects: Value,
    /// kube-proxy's kernel.
    pub(crate) recording: String,
}

/// What a comparison spends its time on, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// Telling the API server and asking it back.
    delivery: Duration,
    /// Until kube-proxy had taken note of everything.
    kube_proxy: Duration,
    /// Until weir had too, if that was later.
    weir: Duration,
    /// Reading both kernels until they were equal.
    kernels: Duration,
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Times) {
        self.delivery += other.delivery;
        self.kube_proxy += other.kube_proxy;
        self.weir += other.weir;
        self.kernels += other.kernels;
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times { delivery, kube_proxy, weir, kernels } = self;
        let [delivery, kube_proxy, weir, kernels] =
            [delivery, kube_proxy, weir, kernels].map(Duration::as_secs_f64);
        write!(
            f,
            "{delivery:.1} s API server, {kube_proxy:.1} s kube-proxy, {weir:.1} s weir, {kernels:.1} s kernels"
        )
    }
}

impl Stage {
    pub(crate) fn set(arguments: &Arguments) -> Result<Stage> {
        let mut delivery = Delivery::new(Client::from_kubeconfig(&arguments.kubeconfig)?)?;
        // kube-proxy waits for its Node.
        delivery.deliver(&World::empty(0))?;
        let kube_proxy = KubeProxy::start(arguments)?;

        let netns = Netns::new()?;
        netns.add_interface("eth0", "52:54:00:12:34:56", ADDRESSES)?;
        let manifests = Manifests::new()?;
        let scratch = tempfile::tempdir().context("no scratch folder")?;
        let config = scratch.path().join("config.json");
        fs::write(&config, proxy::config().to_string()).context("cannot write weir's configuration")?;
        let (node, objects) = delivery.manifests()?;
        manifests.put("node.json", &node.to_string())?;
        manifests.put("objects.json", &objects.to_string())?;
        let weir = Weir {
            program: arguments.weir.clone(),
            netns: &netns,
            manifests: manifests.path().to_owned(),
            config,
        };
        let weir = weir.run()?;
        Ok(Stage {
            kube_proxy,
            weir,
            guest: Netns::own(),
            netns,
            manifests,
            delivery,
            step: 0,
            _scratch: scratch,
        })
    }

    /// Brings both to a state and compares what they made of it.
    pub(crate) fn compare(&mut self, world: &mut World) -> Result<Comparison> {
        self.step += 1;
        world.set_step(self.step);
        let mut watch = StopWatch::start();
        let receipt = self.delivery.deliver(world)?;
        let (node, objects) = self.delivery.manifests()?;
        self.manifests.put("node.json", &node.to_string())?;
        self.manifests.put("objects.json", &objects.to_string())?;

        let mut times = Times { delivery: watch.lap(), ..Times::default() };
        self.await_mark(world, &self.guest)
            .with_context(|| format!("kube-proxy: {}", self.kube_proxy.log_tail()))?;
        times.kube_proxy = watch.lap();
        self.await_mark(world, &self.netns).map_err(|error| self.weir.blame(&error.context("weir")))?;
        times.weir = watch.lap();
        let (unexplained, explained, printed) = self.settle(PATIENCE)?;
        times.kernels = watch.lap();
        if unexplained.is_empty() && self.step == 1 {
            self.prove_that_differences_show()?;
        }
        self.kube_proxy.expect_health()?;
        Ok(Comparison {
            changed: receipt.changed,
            refused: receipt.refused,
            unexplained,
            explained,
            times,
            node,
            objects,
            recording: witness::recording(&printed),
        })
    }

    fn await_mark(&self, world: &World, netns: &Netns) -> Result<()> {
        patience::until(patience::GENEROUS, || {
            let lines: Vec<String> =
                netns.run("ipvsadm", &["-Sn"])?.lines().map(|line| format!("{} ", line.trim_end())).collect();
            ensure!(world.is_marked(&lines), "the mark of step {} is not there", self.step);
            Ok(())
        })
    }

    /// The differences that stay.
    fn settle(&self, patience: Duration) -> Result<(Vec<Difference>, usize, String)> {
        let start = Instant::now();
        loop {
            let printed = witness::printed(&self.guest)?;
            let differences = Dump::of(&self.netns)?.differences(&Dump::printed(&printed));
            let (unexplained, explained) = explained::unexplained(&differences);
            if unexplained.is_empty() || start.elapsed() > patience {
                return Ok((unexplained, explained, printed));
            }
        }
    }

    /// A comparison that never finds anything must not pass for one that found nothing.
    fn prove_that_differences_show(&self) -> Result<()> {
        self.guest.script("ipset create parity-proof hash:ip\nipvsadm -A -t 192.0.2.200:81")?;
        let (unexplained, ..) = self.settle(Duration::ZERO)?;
        // kube-proxy takes away virtual servers that nobody asked for.
        self.guest.script("ipset destroy parity-proof\nipvsadm -D -t 192.0.2.200:81 || true")?;
        ensure!(
            ["ipset", "ipvs"].iter().all(|section| unexplained.iter().any(|d| d.section == *section)),
            "a foreign set and a foreign virtual server are no differences: {unexplained:?}"
        );
        Ok(())
    }

    pub(crate) fn logs(&self) -> String {
        format!("{}\n\nweir: {}\n", self.kube_proxy.log_tail(), self.weir.log_tail())
    }
}

/// Tells how long each of several things took.
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
