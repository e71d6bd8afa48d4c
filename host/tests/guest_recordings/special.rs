//! kube-proxy's runs that do one task and exit.

use anyhow::{Result, ensure};
use weir_harness::weir::{Running, confined};
use weir_harness::witness::{self, Dump};

use crate::stage::Stage;

const ESTABLISHED: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";

pub(crate) fn initialised_once_two_capabilities_are_enough() -> Result<()> {
    let stage = Stage::named("strict-arp-timeouts")?;
    let recorded = stage.recorded()?;
    let before = Dump::of(&stage.netns)?;
    let answer = stage.weir().ask("run", &["--init-only"])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    let initialised = Dump::of(&stage.netns)?;
    for section in ["sysctl", "timeouts"] {
        ensure!(initialised.section(section) == recorded.section(section), "{section}: {initialised:?}");
    }
    for section in ["ipvs", "ipset", "iptables", "ip6tables", "addresses", "link"] {
        ensure!(initialised.section(section) == before.section(section), "{section}: {initialised:?}");
    }
    let established = stage.netns.script(&format!("cat {ESTABLISHED}"))?;
    ensure!(established.trim() == "86400", "established connections time out after {established} s");

    let weir = stage.weir();
    let mut command = confined(|program| stage.netns.command(program), &weir.program);
    command.arg("run").arg("--config").arg(&weir.config).arg("--manifests").arg(&weir.manifests);
    let mut running = Running::start(command)?;
    witness::settle(&stage.netns, &recorded).map_err(|error| running.blame(&error))?;
    running.expect_health()
}

pub(crate) fn initialising_names_what_keeps_it_from_working() -> Result<()> {
    let stage = Stage::named("cluster-cidr")?.with_ipvs("scheduler", "twos")?;
    let answer = stage.weir().ask("run", &["--init-only"])?;
    ensure!(answer.status == Some(1) && answer.stderr.contains("scheduler twos"), "{answer:?}");

    // If something cannot be written, the daemon exits before it touches anything.
    let stage = Stage::named("clusterip-tcp")?;
    let before = Dump::of(&stage.netns)?;
    let weir = stage.weir();
    let mut command = confined(|program| stage.netns.command(program), &weir.program);
    command.args(["run", "--once"]);
    command.arg("--config").arg(&weir.config).arg("--manifests").arg(&weir.manifests);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(said.contains(ESTABLISHED) && said.contains("run --init-only` once"), "{said}");
    witness::hold(&stage.netns, &before)
}

pub(crate) fn run_cleanup_is_cleanup() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    let before = Dump::of(&stage.netns)?;
    ensure!(stage.weir().ask("run", &["--once"])?.status == Some(0), "weir run --once failed");
    let full = Dump::of(&stage.netns)?;
    ensure!(full.section("ipvs").len() > 5, "there is something to remove");
    let answer = stage.weir().ask("run", &["--cleanup"])?;
    ensure!(
        answer.status == Some(0) && answer.stdout.contains("nothing is left of any service proxy"),
        "{answer:?}"
    );
    let left = Dump::of(&stage.netns)?;
    for section in ["ipvs", "ipset", "addresses", "link"] {
        ensure!(left.section(section) == before.section(section), "{section}: {left:?}");
    }
    Ok(())
}
