//! Both programs on two nodes that are alike.

use std::fs;
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
    /// How long kube-proxy took.
    pub(crate) kube_proxy: Duration,
    pub(crate) node: Value,
    pub(crate) objects: Value,
    /// kube-proxy's kernel.
    pub(crate) recording: String,
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
        let receipt = self.delivery.deliver(world)?;
        let start = Instant::now();
        let (node, objects) = self.delivery.manifests()?;
        self.manifests.put("node.json", &node.to_string())?;
        self.manifests.put("objects.json", &objects.to_string())?;

        self.await_mark(world, &self.guest)
            .with_context(|| format!("kube-proxy: {}", self.kube_proxy.log_tail()))?;
        let kube_proxy = start.elapsed();
        self.await_mark(world, &self.netns).map_err(|error| self.weir.blame(&error.context("weir")))?;
        let (unexplained, explained, printed) = self.settle()?;
        self.kube_proxy.expect_health()?;
        Ok(Comparison {
            changed: receipt.changed,
            refused: receipt.refused,
            unexplained,
            explained,
            kube_proxy,
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
    fn settle(&self) -> Result<(Vec<Difference>, usize, String)> {
        let start = Instant::now();
        loop {
            let printed = witness::printed(&self.guest)?;
            let differences = Dump::of(&self.netns)?.differences(&Dump::printed(&printed));
            let (unexplained, explained) = explained::unexplained(&differences);
            if unexplained.is_empty() || start.elapsed() > PATIENCE {
                return Ok((unexplained, explained, printed));
            }
        }
    }

    pub(crate) fn logs(&self) -> String {
        format!("{}\n\nweir: {}\n", self.kube_proxy.log_tail(), self.weir.log_tail())
    }
}
