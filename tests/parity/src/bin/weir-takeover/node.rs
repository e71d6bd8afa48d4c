//! The node, its cluster, and whichever of the two programs runs on it.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use weir_cluster::Client;
use weir_harness::cluster::{Cluster, Node as NodeObject, Place};
use weir_harness::netns::Netns;
use weir_harness::patience;
use weir_harness::weir::Running;
use weir_harness::witness::{self, Dump};
use weir_parity::{Access, KubeProxy};

use crate::Arguments;
use crate::objects;

/// How long a program may take to begin, or to come around to its next period: kube-proxy starts many processes, and
/// the guest is emulated.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at a program's metrics, which cost it time.
const PAUSE: Duration = Duration::from_millis(500);

const PODS: &[(&str, Place)] =
    &[("app", Place::Local), ("web-1", Place::Local), ("web-2", Place::Local), ("far-1", Place::Remote)];

pub(crate) struct Node<'a> {
    arguments: &'a Arguments,
    // In this order they are dropped: programs, then what they work with.
    running: Option<Proxy>,
    access: Access,
    netns: Netns,
    pub(crate) cluster: Cluster,
}

enum Proxy {
    KubeProxy(KubeProxy),
    Weir(Running),
}

/// The configuration of both. Periods are short, so that drift is soon found.
pub(crate) fn config() -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "hostnameOverride": Place::Local.node(),
        "ipvs": { "syncPeriod": "5s", "minSyncPeriod": "1s" },
        "conntrack": { "maxPerCore": 0 },
        "clusterCIDR": "10.244.0.0/16,fd00:10:244::/48",
    })
}

impl Node<'_> {
    /// The cluster's machines, and its objects in the API server.
    pub(crate) fn new(arguments: &Arguments) -> Result<Node<'_>> {
        // What every node has; kube-proxy ends without it.
        Netns::own().run("modprobe", &["nf_conntrack"])?;
        let cluster = Cluster::new(PODS)?;
        let netns = Netns::named(cluster.node().namespace())?;
        let client = Client::from_kubeconfig(&arguments.kubeconfig)?;
        client.apply(&NodeObject::of(&cluster, Place::Local).to_json())?;
        for service in objects::services(&cluster) {
            client.apply(&service.to_list()).with_context(|| format!("Service {}", service.name()))?;
        }
        let access = Access::new(&arguments.proxy_kubeconfig, &netns)?;
        Ok(Node { arguments, running: None, access, netns, cluster })
    }

    pub(crate) fn script(&self, lines: &str) -> Result<()> {
        self.netns.script(lines).map(drop)
    }

    pub(crate) fn dump(&self) -> Result<Dump> {
        Dump::of(&self.netns)
    }

    /// Waits until the kernel holds this, and goes on doing so.
    pub(crate) fn settle(&self, expected: &Dump) -> Result<()> {
        witness::settle(&self.netns, expected)
    }

    /// Kills what runs, with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Lets what runs stand still.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Ends a pause.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let id = match &self.running {
            Some(Proxy::KubeProxy(kube_proxy)) => kube_proxy.id(),
            Some(Proxy::Weir(weir)) => weir.id(),
            None => bail!("nothing runs"),
        };
        self.script(&format!("kill -{name} {id}"))
    }

    /// Ends weir as the kubelet does.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        let Some(Proxy::Weir(mut running)) = self.running.take() else { bail!("weir does not run") };
        self.netns.script(&format!("kill {}", running.id()))?;
        let status = running.await_end(PATIENCE)?;
        ensure!(status == Some(0), "weir ended with {status:?}");
        Ok(())
    }

    /// Starts kube-proxy, and waits until it has synchronised twice: what it learns of itself in the first time, such as
    /// its own addresses, shows in the second.
    pub(crate) fn start_kube_proxy(&mut self, config: &Value) -> Result<()> {
        let config = self.access.write(config)?;
        let kube_proxy = KubeProxy::start(&self.arguments.kube_proxy, &config, &self.netns)?;
        self.running = Some(Proxy::KubeProxy(kube_proxy));
        self.await_syncs(2)
    }

    /// Waits until kube-proxy has begun and finished as many synchronisations from now on.
    pub(crate) fn await_next_syncs(&mut self, count: u32) -> Result<()> {
        let Some(Proxy::KubeProxy(kube_proxy)) = &self.running else { bail!("kube-proxy does not run") };
        // One may have begun before.
        let until = kube_proxy.syncs(&self.netns)? + 1 + count;
        self.await_syncs(until)
    }

    fn await_syncs(&mut self, count: u32) -> Result<()> {
        let Some(Proxy::KubeProxy(kube_proxy)) = &mut self.running else { bail!("kube-proxy does not run") };
        let reached = patience::until(PATIENCE, || {
            sleep(PAUSE);
            let syncs = kube_proxy.syncs(&self.netns)?;
            ensure!(syncs >= count, "{syncs} synchronisations, not {count}");
            Ok(())
        });
        reached.with_context(|| kube_proxy.log_tail())?;
        kube_proxy.expect_health()
    }

    /// Starts weir, and waits until its first round is done.
    pub(crate) fn start_weir(&mut self, config: &Value) -> Result<()> {
        let config = self.access.write(config)?;
        let mut command = self.netns.command(&self.arguments.weir);
        command.arg("run").arg("--config").arg(config);
        let running = Running::start(command)?;
        let round = patience::until(PATIENCE, || {
            sleep(PAUSE);
            let url = "http://127.0.0.1:10249/metrics";
            let text = self.netns.run("curl", &["--silent", "--show-error", url])?;
            let line =
                text.lines().find_map(|line| line.strip_prefix("weir_rounds_total{result=\"succeeded\"} "));
            ensure!(line.is_some_and(|count| count != "0"), "no round yet");
            Ok(())
        });
        round.map_err(|error| running.blame(&error))?;
        self.running = Some(Proxy::Weir(running));
        Ok(())
    }

    /// The changes that weir has made since it started.
    pub(crate) fn changes(&mut self) -> Result<Vec<String>> {
        let Some(Proxy::Weir(running)) = &mut self.running else { bail!("weir does not run") };
        running.expect_health()?;
        let lines = running.log()?;
        ensure!(lines.iter().any(|line| line.field("message") == "started"), "an empty log proves nothing");
        let changed = lines.iter().filter(|line| line.field("message") == "changed");
        Ok(changed.map(|line| line.field("change")).collect())
    }
}
