//! Events in the life of a node: weir is updated, its plugins change, the kubelet restarts, the kernel kills weir because
//! memory is short, and the node is drained and rebooted.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{PATIENCE, Stage, until};
use crate::e2e::install;
use crate::e2e::node::Node;
use crate::e2e::traffic::Traffic;
use crate::process;

/// The package of the plugin, and the file that `host/install/policy` names.
pub(super) const PLUGIN: &str = "weir-plugin-annotations";
const COMPONENT: &str = "weir_plugin_annotations.wasm";

/// A kubelet checks ConfigMaps about once a minute.
const CONFIG_MAPS: Duration = Duration::from_secs(300);

/// The node to drain; the clients run on the other one.
pub(super) const DRAINED: u8 = 2;

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    stage.deploy_web(4, Some(5))?;
    let mut traffic = stage.start_traffic()?;
    stage.claim_nothing_lost(&mut traffic, "weir_alone")?;
    update(stage, &mut traffic)?;
    change_plugins(stage, &mut traffic)?;
    restart_kubelet(stage, &mut traffic)?;
    kill_for_memory(stage, &mut traffic)?;
    drain_and_reboot(stage, &mut traffic)?;
    traffic.stop()
}

/// The same program under another tag: for the DaemonSet, this is another version.
fn update(stage: &mut Stage<'_>, traffic: &mut Traffic<'_>) -> Result<()> {
    for number in 1..=stage.options.nodes {
        tag(stage.nodes.node(number)?)?;
    }
    stage.kubectl(
        "--namespace=kube-system set image daemonset/weir weir=localhost/weir:next prepare=localhost/weir:next",
    )?;
    roll_out(stage)?;
    // The status contains any one of an image's names.
    let images = stage.kubectl(
        "--namespace=kube-system get pods --selector=app.kubernetes.io/name=weir \
         --output=jsonpath={.items[*].spec.containers[*].image}",
    )?;
    let check = || {
        let are_new = images.split_whitespace().all(|image| image == "localhost/weir:next");
        ensure!(are_new, "some pods do not run localhost/weir:next; images: {images}");
        Ok(())
    };
    stage.claim("update_runs_the_new_version_everywhere", check());
    stage.claim_nothing_lost(traffic, "update")
}

/// Gives weir's image on a node the tag of the new version.
fn tag(node: &Node) -> Result<()> {
    let answer = node.shell("ctr -n k8s.io images tag --force localhost/weir:0.1.0 localhost/weir:next")?;
    ensure!(answer.trim() == "localhost/weir:next", "cannot tag weir's image on the node: {answer}");
    Ok(())
}

fn roll_out(stage: &Stage<'_>) -> Result<()> {
    stage.kubectl("--namespace=kube-system rollout status daemonset/weir --timeout=600s").map(drop)
}

/// Follows `host/install/README.md`: installs an overlay with the component `policy`, then changes the Service and the
/// ConfigMap.
fn change_plugins(stage: &mut Stage<'_>, traffic: &mut Traffic<'_>) -> Result<()> {
    let component =
        stage.options.plugin.as_deref().context("the plugin of the scenario is missing (--plugin)")?;
    // The line that names the plugin's file is a comment there.
    let policy =
        install::copy("policy", stage.report, |text| text.replace("# - weir_plugin", "- weir_plugin"))?;
    fs::copy(component, policy.join(COMPONENT)).context("cannot copy the plugin")?;
    let install = stage.report.join("install");
    let overlay = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../base]\n\
        components: [../policy]\nimages:\n- {name: localhost/weir, newTag: next}\n";
    fs::create_dir_all(install.join("overlay")).context("cannot write an overlay")?;
    fs::write(install.join("overlay/kustomization.yaml"), overlay).context("cannot write an overlay")?;
    let apply = |keys: &str| -> Result<()> {
        let text = format!(
            "apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\nplugins:\n- name: annotations\n  \
             source: {COMPONENT}\n  configuration:\n    keys: [{keys}]\n"
        );
        fs::write(policy.join("policy.yaml"), text).context("cannot write policy.yaml")?;
        let mut kubectl = stage.cluster.kubectl();
        process::run(kubectl.args(["apply", "--server-side", "--kustomize"]).arg(install.join("overlay")))
    };
    apply("policy.weir/drain")?;
    roll_out(stage)?;
    stage.kubectl("annotate service web policy.weir/scheduler=mh")?;
    let scheduler = |stage: &Stage<'_>, expected: &'static str| {
        until(CONFIG_MAPS, || {
            (1..=stage.options.nodes).try_for_each(|number| {
                let state = servers(stage.nodes.node(number)?)?;
                let cluster_ip = stage.kubectl("get service web --output=jsonpath={.spec.clusterIP}")?;
                let line = state.lines().find(|line| line.contains(&format!(" {cluster_ip}:80 ")));
                let line =
                    line.with_context(|| format!("node{number} has no virtual server {cluster_ip}:80"))?;
                ensure!(line.contains(&format!("-s {expected}")), "node{number}: {line}");
                Ok(())
            })
        })
    };
    let before = restarts(stage)?;
    let result = scheduler(stage, "rr");
    stage.claim("a_key_that_the_policy_leaves_out_does_nothing", result);
    apply("policy.weir/scheduler")?;
    let result = scheduler(stage, "mh");
    stage.claim("a_changed_config_map_is_taken_up", result);
    let after = restarts(stage)?;
    let check = || {
        ensure!(before == after, "weir restarted; restarts before: {before}, after: {after}");
        Ok(())
    };
    stage.claim("a_changed_config_map_restarts_nothing", check());
    stage.claim_nothing_lost(traffic, "plugins")
}

/// Names and restarts of weir's pods.
fn restarts(stage: &Stage<'_>) -> Result<String> {
    stage.kubectl(
        "--namespace=kube-system get pods --selector=app.kubernetes.io/name=weir \
         --output=jsonpath={range.items[*]}{.metadata.name}={.status.containerStatuses[*].restartCount},{end}",
    )
}

fn restart_kubelet(stage: &mut Stage<'_>, traffic: &mut Traffic<'_>) -> Result<()> {
    let node = stage.nodes.node(1)?;
    let pid = node.shell("cat /run/kubelet.pid; kill $(cat /run/kubelet.pid)")?;
    until(PATIENCE, || {
        let now = node.shell("cat /run/kubelet.pid")?;
        ensure!(now != pid, "the kubelet did not start again");
        ensure!(node.shell("curl -s http://127.0.0.1:10248/healthz")? == "ok", "the kubelet is not healthy");
        Ok(())
    })?;
    // Time for its first check of all pods, and its report to the API server.
    std::thread::sleep(Duration::from_secs(20));
    stage.claim_nothing_lost(traffic, "kubelet_restart")
}

/// The kernel kills weir at its next allocation.
fn kill_for_memory(stage: &mut Stage<'_>, traffic: &mut Traffic<'_>) -> Result<()> {
    let node = stage.nodes.node(1)?;
    let name = node.name();
    let state = |stage: &Stage<'_>| -> Result<Value> {
        let pods = stage.kubectl(&format!(
            "--namespace=kube-system get pods --selector=app.kubernetes.io/name=weir \
             --field-selector=spec.nodeName={name} --output=json"
        ))?;
        let pods: Value = serde_json::from_str(&pods).context("kubectl printed invalid JSON")?;
        Ok(pods["items"][0]["status"]["containerStatuses"][0].clone())
    };
    let before = state(stage)?["restartCount"].clone();
    node.shell("echo 1M > /sys/fs/cgroup$(cut -d: -f3 /proc/$(pidof weir)/cgroup)/memory.max")?;
    let result = until(PATIENCE, || {
        let now = state(stage)?;
        ensure!(
            now["restartCount"] != before && now["ready"] == true,
            "weir's container did not start again: {now}"
        );
        let reason = &now["lastState"]["terminated"]["reason"];
        ensure!(
            reason == "OOMKilled",
            "weir's container ended with the reason {reason} instead of OOMKilled"
        );
        Ok(())
    });
    stage.claim("weir_is_killed_for_memory_and_starts_again", result);
    stage.claim_nothing_lost(traffic, "kill_for_memory")
}

/// Drains before the reboot, as operators do, so that pods serve from the other node.
fn drain_and_reboot(stage: &mut Stage<'_>, traffic: &mut Traffic<'_>) -> Result<()> {
    let node = stage.nodes.node(DRAINED)?;
    let name = node.name();
    stage.kubectl(&format!(
        "drain {name} --ignore-daemonsets --delete-emptydir-data --force --timeout=600s"
    ))?;
    stage.kubectl("rollout status deployment/web --timeout=900s")?;
    let drained = traffic.look()?;
    stage.claim("drain_refuses_no_connection", drained.new.expect_nothing_lost());
    // The bridge of pods gets its address, and with it node ports, when the first pod starts.
    let is_wanted = |line: &&str| line.starts_with("-A") && !line.contains(" 10.244.");
    let virtual_servers = |text: &str| text.lines().filter(is_wanted).count();
    let before = virtual_servers(&servers(node)?);
    stage.nodes.reboot(DRAINED)?;
    // The node starts with a fresh disk.
    until(PATIENCE, || tag(node))?;
    let node_port = stage.kubectl("get service web --output=jsonpath={.spec.ports[0].nodePort}")?;
    let address: SocketAddr = format!("{}:{node_port}", node.address())
        .parse()
        .context("the Service web has no valid node port")?;
    let result = until(PATIENCE * 2, || {
        let now = virtual_servers(&servers(node)?);
        ensure!(now == before, "the node has {now} virtual servers, but had {before} before it was rebooted");
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .map(drop)
            .with_context(|| format!("cannot connect to {address}"))
    });
    stage.claim("a_booted_node_serves_again", result);
    stage.kubectl(&format!("uncordon {name}"))?;
    let booted = traffic.look()?;
    stage.claim("reboot_refuses_no_connection", booted.new.expect_nothing_lost());
    Ok(())
}

/// Virtual servers and real servers.
fn servers(node: &Node) -> Result<String> {
    node.shell("ipvsadm -Sn")
}
