//! The arms of the experiment: what balances connections on the client nodes.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::json;
use tempfile::TempDir;
use weir_harness::policy::{Plugin, Policy};
use weir_harness::weir::Running;

use crate::stage::{Node, Stage};

/// The name in the manifests of the node that represents all client nodes.
pub(crate) const NODE: &str = "client";

/// Schedulers and plugins to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arm {
    Rr,
    Lc,
    Wlc,
    Sh,
    /// nftables' `numgen random`, as in kube-proxy's nftables mode, without weir
    Random,
    /// The plugin node-weights, with nodes that state their pods' capacity
    Known,
    /// The plugin load-aware
    LoadAware,
}

impl Arm {
    /// The name in options and reports; `weir lab` uses the same names.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether weights change during the run.
    pub(crate) fn moves(self) -> bool {
        self == Arm::LoadAware
    }

    fn scheduler(self) -> Option<&'static str> {
        match self {
            Arm::Rr => Some("rr"),
            Arm::Lc => Some("lc"),
            Arm::Wlc => Some("wlc"),
            Arm::Sh => Some("sh"),
            Arm::Random | Arm::Known | Arm::LoadAware => None,
        }
    }

    fn plugin(self) -> Option<Plugin> {
        match self {
            Arm::Known => {
                Some(Plugin::new("node-weights", "weir-plugin-node-weights", json!({"capacity": "cpu"})))
            }
            Arm::LoadAware => Some(Plugin::new("load-aware", "weir-plugin-load-aware", json!({}))),
            Arm::Rr | Arm::Lc | Arm::Wlc | Arm::Sh | Arm::Random => None,
        }
    }
}

/// Nodes that balance, and their input.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) arm: Arm,
    pub(crate) stage: Stage,
    /// Read by the nodes' weirs while they run.
    _policy: Option<Policy>,
    _folder: TempDir,
}

/// The service on each node.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) server: SocketAddr,
    pub(crate) endpoints: Vec<SocketAddr>,
}

impl Target {
    /// Returns the only virtual server that weir plans for these manifests.
    pub(crate) fn plan(weir: &Path, manifests: &Path) -> Result<Target> {
        let mut command = Command::new(weir);
        command.args(["plan", "--node", NODE, "--manifests"]).arg(manifests);
        let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
        ensure!(output.status.success(), "weir plan: {}", String::from_utf8_lossy(&output.stderr));
        Target::of(&String::from_utf8(output.stdout).context("weir plan did not print UTF-8")?)
    }

    /// Parses the output of `weir plan`.
    fn of(plan: &str) -> Result<Target> {
        let with = |word: &'static str| plan.lines().filter_map(move |line| line.strip_prefix(word));
        let servers: Vec<&str> = with("virtual tcp ").filter_map(|rest| rest.split(' ').next()).collect();
        let &[server] = servers.as_slice() else {
            anyhow::bail!(
                "the manifests must have one Service with one TCP port; found virtual servers {servers:?}"
            )
        };
        let real = with("real tcp ").filter_map(|rest| rest.split(' ').nth(2));
        let mut endpoints =
            real.map(|address| address.parse().context("invalid endpoint")).collect::<Result<Vec<_>>>()?;
        endpoints.sort_unstable();
        Ok(Target { server: server.parse().context("invalid virtual server")?, endpoints })
    }
}

/// Nodes and pods with everything this arm needs, ready for connections.
pub(crate) fn prepare(
    arm: Arm,
    nodes: usize,
    target: &Target,
    weir: &Path,
    manifests: &Path,
) -> Result<Ready> {
    let mut stage = Stage::new(nodes, &target.endpoints)?;
    let folder = tempfile::tempdir().context("cannot create a directory for compiled plugins")?;
    let policy = match arm.plugin() {
        Some(plugin) => Some(Policy::new(&[plugin], &folder.path().join("0"))?),
        None => None,
    };
    if arm == Arm::Random {
        let rules = balance_by_chance(target);
        for node in &stage.nodes {
            node.namespace.output("nft", &[&rules])?;
        }
        return Ok(Ready { arm, stage, _policy: policy, _folder: folder });
    }
    let start = |node: &Node, number: usize| -> Result<Running> {
        let mut command = Command::new(weir);
        // The number of connections belongs to the machine, not to the node's network namespace.
        command.args(["run", "--node", NODE, "--conntrack-max-per-core", "0", "--manifests"]).arg(manifests);
        if let Some(scheduler) = arm.scheduler() {
            command.args(["--ipvs-scheduler", scheduler]);
        }
        if let Some(policy) = &policy {
            command.arg("--policy").arg(policy.file());
            command.arg("--state-dir").arg(folder.path().join(number.to_string()));
        }
        node.namespace.run(|| Running::start(command))
    };
    for number in 0..stage.nodes.len() {
        // Compiling takes a while: the first node does it for all nodes.
        if number > 0 && policy.is_some() {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(folder.path().join("0")).arg(folder.path().join(number.to_string()));
            ensure!(copy.status().context("cannot start cp")?.success(), "{copy:?}");
        }
        let node = &stage.nodes[number];
        let running = start(node, number)?;
        if number == 0 {
            running.await_first_round()?;
        }
        stage.nodes[number].weir = Some(running);
    }
    for running in stage.nodes.iter().filter_map(|node| node.weir.as_ref()) {
        running.await_first_round()?;
    }
    Ok(Ready { arm, stage, _policy: policy, _folder: folder })
}

/// A rule like those of kube-proxy's nftables mode for a node's own connections.
fn balance_by_chance(target: &Target) -> String {
    let mut map = String::new();
    for (number, endpoint) in target.endpoints.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(
            map,
            "{}{number} : {} . {}",
            if number > 0 { ", " } else { "" },
            endpoint.ip(),
            endpoint.port()
        );
    }
    format!(
        "add table ip nat; \
         add chain ip nat output {{ type nat hook output priority -100; }}; \
         add rule ip nat output ip daddr {} tcp dport {} dnat ip to numgen random mod {} map {{ {map} }};",
        target.server.ip(),
        target.server.port(),
        target.endpoints.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "address 10.96.0.10\nvirtual tcp 10.96.0.10:80 rr\n\
        real tcp 10.96.0.10:80 -> 10.244.0.2:8080 weight 1\nreal tcp 10.96.0.10:80 -> 10.244.0.1:8080 weight 1\n";

    #[test]
    fn the_plan_says_where_to_connect_and_who_answers() {
        let target = Target::of(PLAN).unwrap();
        assert_eq!(target.server.to_string(), "10.96.0.10:80");
        assert_eq!(
            target.endpoints.iter().map(|one| one.ip().to_string()).collect::<Vec<_>>(),
            ["10.244.0.1", "10.244.0.2"]
        );
        assert!(Target::of(&format!("{PLAN}virtual tcp 10.96.0.11:80 rr\n")).is_err());
        assert!(
            balance_by_chance(&target).contains("mod 2 map { 0 : 10.244.0.1 . 8080, 1 : 10.244.0.2 . 8080 }")
        );
    }

    #[test]
    fn arms_are_called_as_weir_lab_calls_them() {
        assert_eq!(
            Arm::value_variants().iter().map(|arm| arm.name()).collect::<Vec<_>>().join(","),
            "rr,lc,wlc,sh,random,known,load-aware"
        );
    }
}
