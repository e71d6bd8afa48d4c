//! A node with a folder of manifests and a configuration: the starting point of each test.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use weir_harness::netns::Netns;
use weir_harness::patience::{self, GENEROUS};
use weir_harness::scenario::{self, Scenario, Step};
use weir_harness::weir::{Manifests, Running, Weir};
use weir_harness::witness::{self, Dump};

/// The program under test.
const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// The node of a scenario, with its first objects.
pub(crate) struct Stage {
    pub(crate) netns: Netns,
    pub(crate) manifests: Manifests,
    scenario: Scenario,
    config: PathBuf,
    scratch: TempDir,
}

impl Stage {
    /// The scenario's node with the objects of the first step.
    pub(crate) fn of(scenario: &Scenario) -> Result<Stage> {
        let netns = Netns::new()?;
        scenario.furnish(&netns).context("the node")?;
        let manifests = Manifests::new()?;
        manifests.put("node.json", &scenario.node()?)?;
        let stage = Stage {
            netns,
            manifests,
            config: scenario.config(),
            scenario: scenario.clone(),
            scratch: tempfile::tempdir().context("no scratch folder")?,
        };
        stage.manifests.put("objects.json", &stage.first()?.objects()?)?;
        Ok(stage)
    }

    /// The same, by the scenario's name.
    pub(crate) fn named(scenario: &str) -> Result<Stage> {
        Stage::of(&scenario::named(scenario)?)
    }

    /// With this field below `ipvs` in the configuration.
    pub(crate) fn with_ipvs(mut self, field: &str, value: &str) -> Result<Stage> {
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&self.config)?)?;
        config["ipvs"][field] = value.into();
        self.config = self.scratch.path().join("config.json");
        fs::write(&self.config, config.to_string())?;
        Ok(self)
    }

    fn first(&self) -> Result<Step> {
        self.scenario.steps().into_iter().next().context("the scenario has no steps")
    }

    /// The program on this node.
    pub(crate) fn weir(&self) -> Weir<'_> {
        Weir {
            program: WEIR.into(),
            netns: &self.netns,
            manifests: self.manifests.path().to_owned(),
            config: self.config.clone(),
        }
    }

    /// A folder for the test's own files.
    pub(crate) fn scratch(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Shell code that replaces `/usr/sbin` by a copy changed by these commands.
    pub(crate) fn with_sbin(&self, lines: &str) -> String {
        let copy = self.scratch().join("sbin");
        format!("cp -a /usr/sbin {0}; (cd {0}; {lines}); mount --bind {0} /usr/sbin", copy.display())
    }

    /// The recording of the first step.
    pub(crate) fn recorded(&self) -> Result<Dump> {
        self.first()?.recorded()
    }

    /// The plan for the current manifests: the sections that depend on them.
    pub(crate) fn planned(&self) -> Result<Dump> {
        let interfaces = self.scenario.interfaces();
        let interfaces = interfaces.to_str().context("paths are UTF-8")?;
        let answer = self.weir().ask("plan", &["--output", "kernel", "--interfaces", interfaces])?;
        ensure!(answer.status == Some(0), "weir plan failed: {}", answer.stderr);
        Ok(Dump::recorded(&answer.stdout))
    }

    /// Waits for a state; an error includes the program's last log lines.
    pub(crate) fn settle(&self, running: &Running, expected: &Dump) -> Result<()> {
        witness::settle(&self.netns, expected).map_err(|error| running.blame(&error))
    }

    /// The output of `weir status`, with its exit status.
    pub(crate) fn status(&self) -> Result<(Option<i32>, Value)> {
        let answer = self.weir().ask("status", &["--output", "json"])?;
        let status = serde_json::from_str(&answer.stdout).with_context(|| format!("{answer:?}"))?;
        Ok((answer.status, status))
    }

    /// Waits for this status, with this exit status.
    pub(crate) fn await_status(&self, exit: i32, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        patience::until(GENEROUS, || {
            let (code, status) = self.status()?;
            ensure!(code == Some(exit) && wanted(&status), "exit status {code:?}: {status:#}");
            Ok(status)
        })
    }

    /// Starts the program after its initialisation and with few capabilities, as in a cluster.
    pub(crate) fn run(&self) -> Result<Running> {
        self.weir().run()
    }

    /// Starts the program and waits for the recorded state.
    pub(crate) fn start(&self) -> Result<Running> {
        let running = self.run()?;
        self.settle(&running, &self.recorded()?)?;
        Ok(running)
    }

    /// The kernel state after the program reached the recorded state and was killed.
    pub(crate) fn leave(&self) -> Result<Dump> {
        drop(self.start()?);
        Dump::of(&self.netns)
    }
}
