//! weir on the cluster's node.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow, ensure};
use weir_core::net::Protocol;

use super::{Cluster, Namespace};
use crate::http;
use crate::patience::{self, GENEROUS};
use crate::policy::Policy;
use crate::weir::{Manifests, Running, run_confined};

/// Default address of the metrics page.
const METRICS: &str = "127.0.0.1:10249";

/// A running `weir run` on the node, and its directory of manifests. Dropping it stops the program and removes
/// what it added to the kernel.
#[derive(Debug)]
pub struct Daemon {
    node: Arc<Namespace>,
    program: PathBuf,
    flags: Vec<String>,
    manifests: Manifests,
    policy: Option<Policy>,
    /// `None` only during start and drop, or after a kill.
    running: Option<Running>,
}

impl Daemon {
    /// Starts the program with these flags and manifests, and waits until the kernel matches the plan.
    ///
    /// # Errors
    /// When it does not start, or the kernel does not match the plan within a generous time.
    pub fn start(cluster: &Cluster, program: &Path, flags: &[&str], manifests: Manifests) -> Result<Daemon> {
        let mut daemon = Daemon::new(cluster, program, flags, manifests);
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts the program with this policy on a node without leftovers of an earlier one, and waits until the
    /// first round is done. [`Daemon::settle`] asks another process whether the kernel matches the plan, which
    /// takes as long as compiling the plugins; policies may depend on time.
    ///
    /// # Errors
    /// When it does not start, or a change of the first round fails.
    pub fn start_with_policy(
        cluster: &Cluster,
        program: &Path,
        flags: &[&str],
        policy: Policy,
        manifests: Manifests,
    ) -> Result<Daemon> {
        let mut daemon = Daemon::new(cluster, program, flags, manifests);
        daemon.policy = Some(policy);
        let running = daemon.run()?;
        let synchronised = running.await_first_round();
        daemon.running = Some(running);
        synchronised.map(|()| daemon)
    }

    fn new(cluster: &Cluster, program: &Path, flags: &[&str], manifests: Manifests) -> Daemon {
        Daemon {
            node: Arc::clone(cluster.node().namespace()),
            program: program.to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            manifests,
            policy: None,
            running: None,
        }
    }

    /// Kills the program. Its kernel state stays, and it can be started again.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    /// Kills the program, starts it again on the state it left, and waits until the kernel matches the plan.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.running = Some(self.run()?);
        self.settle()
    }

    fn run(&self) -> Result<Running> {
        let arguments = self.arguments("run", self.policy.as_ref());
        self.node.run(|| run_confined(|program| Command::new(program), &self.program, &arguments))
    }

    /// Kills the program, starts it again on the state it left, and waits until it has compared all of it once.
    /// Real servers that drain continue to differ from the plan.
    ///
    /// # Errors
    /// When it does not start, or does not get there within a generous time.
    pub fn restart_while_draining(&mut self) -> Result<()> {
        const ROUNDS: &str = "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}";
        self.kill();
        self.running = Some(self.run()?);
        let compared = patience::until(GENEROUS, || {
            let rounds = self.metric(ROUNDS)?;
            ensure!(rounds >= Some(1.0), "{ROUNDS} is {rounds:?}, expected at least 1");
            Ok(())
        });
        compared.map_err(|error| self.blame(&error))
    }

    /// The flags it was started with.
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Its policy, if it has one.
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Its policy, for exchanging plugins.
    pub fn policy_mut(&mut self) -> Option<&mut Policy> {
        self.policy.as_mut()
    }

    /// Adds the program's last log lines to an error.
    pub fn blame(&self, error: &Error) -> Error {
        let log = self.running.as_ref().map(Running::log_tail).unwrap_or_default();
        anyhow!("{error:#}\n{log}")
    }

    /// Its manifests. weir notices changes by itself.
    pub fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// The value of a series (`name{label="value"}`) on the program's metrics page; `None` if the series does not
    /// exist.
    ///
    /// # Errors
    /// When the page cannot be read.
    pub fn metric(&self, series: &str) -> Result<Option<f64>> {
        let page = self.node.run(|| http::get(METRICS, "/metrics"))?;
        let value = page.body.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        Ok(value)
    }

    /// Waits until the kernel matches the plan for the current manifests.
    ///
    /// # Errors
    /// The remaining differences, and the end of the log.
    pub fn settle(&self) -> Result<()> {
        let settled = patience::until(GENEROUS, || self.ask("diff", &[]).map(drop));
        settled.map_err(|error| self.blame(&error))
    }

    /// Returns the output of a subcommand for this node and these manifests; it must succeed.
    ///
    /// # Errors
    /// When it cannot be started or fails; contains its output.
    pub fn ask(&self, subcommand: &str, arguments: &[&str]) -> Result<String> {
        let policy = self.policy.as_ref().filter(|_| subcommand != "cleanup");
        let mut all = self.arguments(subcommand, policy);
        all.extend(arguments.iter().map(Into::into));
        self.output(subcommand, &all)
    }

    /// Fails unless the kernel matches the plan made without a policy.
    ///
    /// # Errors
    /// As [`Daemon::ask`], with the differences.
    pub fn expect_plan_without_policy(&self) -> Result<()> {
        self.output("diff", &self.arguments("diff", None)).map(drop)
    }

    fn output(&self, subcommand: &str, arguments: &[OsString]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).args(arguments).stdin(Stdio::null());
        let output =
            self.node.run(|| command.output().with_context(|| format!("cannot start {command:?}")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "weir {subcommand}: {}\n{errors}{text}", output.status);
        Ok(text)
    }

    fn arguments(&self, subcommand: &str, policy: Option<&Policy>) -> Vec<OsString> {
        // The number of connections belongs to the machine, not to the node's network namespace.
        let mut arguments: Vec<OsString> =
            ["--node", "node1", "--conntrack-max-per-core", "0"].map(Into::into).into();
        arguments.extend(self.flags.iter().map(Into::into));
        if subcommand != "cleanup" {
            arguments.extend(["--manifests".into(), self.manifests.path().into()]);
        }
        if let Some(policy) = policy {
            arguments.extend(["--policy".into(), policy.file().into()]);
            if subcommand == "run" {
                arguments.extend(["--state-dir".into(), policy.state().into()]);
            }
        }
        arguments
    }

    /// Fails if the program has exited or has logged an error.
    ///
    /// # Errors
    /// How it exited, or what it logged.
    pub fn expect_health(&mut self) -> Result<()> {
        self.running.as_mut().map_or(Ok(()), Running::expect_health)
    }

    /// The real servers of a virtual server with their weights, as `ipvsadm` prints them.
    ///
    /// # Errors
    /// When `ipvsadm` fails, including when there is no such virtual server.
    pub fn real_servers(&self, protocol: Protocol, server: SocketAddr) -> Result<Vec<(String, u32)>> {
        self.node.real_servers(protocol, server)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Otherwise it would restore what is cleaned up.
        drop(self.running.take());
        if let Err(error) = self.ask("cleanup", &[]) {
            eprintln!("cannot remove weir's state from the node: {error:#}");
        }
    }
}
