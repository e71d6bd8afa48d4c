//! A start on the state left by an earlier process.

use std::fs;

use anyhow::{Result, ensure};
use weir_harness::netns::Netns;
use weir_harness::patience::{self, GENEROUS};
use weir_harness::tap::Tap;
use weir_harness::witness;

use crate::stage::Stage;

/// It sends no message that changes something, and starts no process that writes rules.
pub(crate) fn second_start_sends_nothing() -> Result<()> {
    let stage = Stage::named("random-1")?;
    let left = stage.leave()?;

    let trace = stage.scratch().join("trace");
    let mut command = stage.netns.command("strace");
    command.args(["-f", "-e", "trace=execve", "-o"]).arg(&trace).arg(stage.weir().program);
    command.args(["run", "--once", "--log", "debug", "--log-format", "json"]);
    command.arg("--config").arg(stage.weir().config).arg("--manifests").arg(stage.weir().manifests);
    let tap = Tap::start(&stage.netns)?;
    let output = command.output()?;
    let requests = tap.stop()?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{}: {log}", output.status);
    ensure!(requests.is_empty(), "the kernel was asked for {requests:?}");
    ensure!(log.contains("\"started\""), "an empty log proves nothing: {log}");
    for word in ["\"changed\"", "\"synchronised\"", "\"ERROR\""] {
        ensure!(!log.contains(word), "the first round was not empty:\n{log}");
    }
    let trace = fs::read_to_string(trace)?;
    let writes = |line: &str| line.contains("-restore") && !line.contains("--test");
    ensure!(trace.contains("execve(") && !trace.lines().any(writes), "rules were written:\n{trace}");
    witness::hold(&stage.netns, &left)
}

/// If a process was killed, the next one continues its work.
pub(crate) fn killed_first_start_is_finished_by_the_second() -> Result<()> {
    let stage = Stage::named("random-1")?;
    let running = stage.run()?;
    patience::until(GENEROUS, || {
        ensure!(stage.netns.run("ipset", &["list", "-n"])?.lines().count() > 5, "no sets yet");
        Ok(())
    })?;
    drop(running);
    stage.start().map(drop)
}

/// Several nodes on one kernel, as in kind: `/proc/net/ip_vs` then omits virtual servers.
pub(crate) fn nodes_that_share_a_kernel_do_not_disturb_each_other() -> Result<()> {
    let neighbour = Netns::new()?;
    neighbour.script("for port in {1..60}; do ipvsadm -A -t 10.96.0.1:$port -s rr; done")?;
    let stage = Stage::named("random-1")?;
    stage.leave()?;
    let answer = stage.weir().ask("diff", &[])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    let servers = neighbour.run("ipvsadm", &["-Sn"])?.lines().count();
    ensure!(servers == 60, "{servers} of the neighbour's 60 virtual servers are left");
    Ok(())
}

/// `weir run` stops at SIGTERM with status 0 and leaves the kernel as it is.
pub(crate) fn sigterm_leaves_the_kernel_alone() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    let mut running = stage.start()?;
    stage.netns.script(&format!("kill {}", running.id()))?;
    let status = running.await_end(GENEROUS)?;
    ensure!(status == Some(0), "status {status:?}");
    witness::hold(&stage.netns, &stage.recorded()?)
}
