//! A process killed between any two of its messages to the kernel. Netlink does its work while the sender waits, so
//! no other intermediate states can remain.

use std::fs;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_harness::witness::{self, Dump};
use weir_world::{api, build};

use crate::stage::Stage;

const SERVICES: u8 = 50;

/// Services with two endpoints each. The second endpoint has the number of the first one for the next `from`. And one
/// service that no other `from` has, so that virtual servers, addresses and set entries change too, each by separate
/// messages.
fn objects(from: u8) -> Value {
    let named = |name: &str, ip: String| api::service(&build::service(name).cluster_ip(ip).port(80).build());
    let service = |n: u8| named(&format!("s{n}"), format!("10.96.7.{n}"));
    let slice = |n: u8| {
        let endpoints = (from..from + 2).map(|i| build::endpoint(format!("10.244.{i}.{n}")));
        api::slice(&build::slice(&format!("s{n}")).port(8080).endpoints(endpoints).build())
    };
    let own = named(&format!("only-{from}"), format!("10.96.8.{from}"));
    let items: Vec<Value> = (0..SERVICES).flat_map(|n| [service(n), slice(n)]).chain([own]).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Runs one round, killed instead of sending message number `last`. Returns how many were sent, and how it ended.
fn round(stage: &Stage, last: Option<usize>) -> Result<(usize, Output)> {
    let trace = stage.scratch().join("trace");
    let mut command = stage.netns.command("strace");
    command.args(["-e", "trace=sendto,sendmsg", "-o"]).arg(&trace);
    if let Some(last) = last {
        command.arg("-e").arg(format!("inject=sendto,sendmsg:signal=SIGKILL:when={last}"));
    }
    let weir = stage.weir();
    command.arg(weir.program).args(["run", "--once", "--config"]).arg(weir.config);
    let output = command.arg("--manifests").arg(weir.manifests).output().context("cannot start strace")?;
    let sent = fs::read_to_string(&trace).context("no trace")?;
    Ok((sent.lines().filter(|line| line.starts_with("send")).count(), output))
}

fn finished(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Whether each service has this endpoint and sends traffic to it.
fn has_endpoint(stage: &Stage, number: u8) -> Result<()> {
    let servers = stage.netns.run("ipvsadm", &["-Sn"])?;
    for n in 0..SERVICES {
        let line = format!("-a -t 10.96.7.{n}:80 -r 10.244.{number}.{n}:8080 -m -w 1");
        ensure!(servers.lines().any(|known| known.trim() == line), "no `{line}` in\n{servers}");
    }
    Ok(())
}

/// From one set of endpoints to the next, with one endpoint in both, killed before each message except those that
/// only read; the next start completes the work.
pub(crate) fn killed_before_any_message_loses_no_endpoint() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    let put = |from| stage.manifests.put("objects.json", objects(from).to_string());
    put(1)?;
    finished(&round(&stage, None)?.1)?;
    put(2)?;
    let (mut last, output) = round(&stage, None)?;
    finished(&output)?;
    let (mut killed, mut early) = (0, 0);
    for from in 3.. {
        let before = Dump::of(&stage.netns)?;
        put(from)?;
        let (_, output) = round(&stage, Some(last))?;
        if output.status.success() {
            // Fewer were needed this time: polling may succeed earlier.
            last -= 1;
            continue;
        }
        has_endpoint(&stage, from).with_context(|| format!("killed instead of message {last}"))?;
        let untouched = witness::hold(&stage.netns, &before).is_ok();
        let (sent, output) = round(&stage, None)?;
        finished(&output)?;
        for number in [from, from + 1] {
            has_endpoint(&stage, number).context("after the next start")?;
        }
        let answer = stage.weir().ask("diff", &[])?;
        ensure!(answer.status == Some(0), "{answer:?}");
        if untouched && killed == 0 && early < 3 {
            // More were needed than in the round before: polling took longer.
            (early, last) = (early + 1, sent);
            continue;
        }
        if untouched {
            break;
        }
        (killed, last) = (killed + 1, last - 1);
    }
    ensure!(killed > 0, "the last message changed nothing, so nothing was tried");
    Ok(())
}

/// The first start on an empty kernel, killed before every tenth message.
pub(crate) fn killed_before_any_message_of_the_first_start_is_finished_by_the_next() -> Result<()> {
    let whole = Stage::named("clusterip-tcp")?;
    whole.manifests.put("objects.json", objects(1).to_string())?;
    let (messages, output) = round(&whole, None)?;
    finished(&output)?;
    let expected = Dump::of(&whole.netns)?;
    for last in (1..messages).step_by(10) {
        let stage = Stage::named("clusterip-tcp")?;
        stage.manifests.put("objects.json", objects(1).to_string())?;
        let (_, output) = round(&stage, Some(last))?;
        ensure!(!output.status.success(), "not killed instead of message {last} of {messages}");
        finished(&round(&stage, None)?.1)?;
        witness::hold(&stage.netns, &expected).with_context(|| format!("after message {last}"))?;
    }
    Ok(())
}
