//! The node, its cluster, and the program running there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::{self, Debug};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use weir_cluster::Client;
use weir_core::net::{Family, Protocol};
use weir_core::state::DUMMY_DEVICE;
use weir_harness::cluster::{self, Cluster, Host, Place, Service};
use weir_harness::http;
use weir_harness::lab::{self, PODS, PORT, Vip, at, with_node_ports};
use weir_harness::netns::Netns;
use weir_harness::patience::{self, GENEROUS};
use weir_harness::tap::Tap;
use weir_harness::weir::{Running, run_confined};
use weir_harness::witness::Dump;
use weir_parity::Programs;
use weir_parity::proxy::{Access, KubeProxy};

use crate::Arguments;

/// The service that receives traffic; the others must stay unchanged.
const BUSY: u8 = 10;

/// The numbers of the services with load balancers and node ports; the node port is 30000 plus the number.
pub(crate) const EXPOSED: [u8; 3] = [BUSY, 11, 12];

/// The health page of both programs, which report healthy once they have programmed the node.
const HEALTH: &str = "127.0.0.1:10256";

/// The program that programs the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    KubeProxy,
    Weir,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Program::KubeProxy => "kube-proxy",
            Program::Weir => "weir",
        })
    }
}

enum Live {
    KubeProxy(KubeProxy),
    Weir(Running, Access),
}

pub(crate) struct Node<'a> {
    arguments: &'a Arguments,
    running: Option<Live>,
    netns: Netns,
    client: Client,
    cluster: Cluster,
    /// Used by both programs.
    pub(crate) config: Value,
    busy: Service,
}

impl Node<'_> {
    /// A cluster with services of all kinds, and no program on its node yet.
    pub(crate) fn new(arguments: &Arguments) -> Result<Node<'_>> {
        let cluster = Cluster::new(PODS).context("cannot create the cluster")?;
        let netns = Netns::named(cluster.node().namespace())?;
        // Every node has it; kube-proxy exits without it.
        netns.run("modprobe", &["nf_conntrack"])?;
        let client = Client::from_kubeconfig(&arguments.programs.kubeconfig)?;
        client.apply(&cluster::Node::of(&cluster, Place::Local).to_json())?;
        let services = services(&cluster);
        services.iter().try_for_each(|service| client.apply(&service.to_list()))?;
        let busy =
            services.into_iter().find(|service| service.number() == BUSY).context("no busy service")?;
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "ipvs",
            "hostnameOverride": cluster.node().name(),
            "clusterCIDR": "10.244.0.0/16,fd00:10:244::/48",
            "ipvs": { "syncPeriod": "5s", "minSyncPeriod": "0s" },
            "conntrack": { "maxPerCore": 0 },
        });
        Ok(Node { arguments, running: None, netns, client, cluster, config, busy })
    }

    /// Starts a program, and waits until it reports that it has programmed the node, and the node no longer
    /// changes.
    pub(crate) fn start(&mut self, program: Program) -> Result<()> {
        let Programs { proxy_kubeconfig, kube_proxy, weir, .. } = &self.arguments.programs;
        self.running = Some(match program {
            Program::KubeProxy => {
                Live::KubeProxy(KubeProxy::start(kube_proxy, proxy_kubeconfig, &self.config, &self.netns)?)
            }
            Program::Weir => {
                let access = Access::new(proxy_kubeconfig, &self.config, &self.netns)?;
                let arguments = ["--config".into(), access.config.clone().into()];
                let enter = |program: &OsStr| self.netns.command(program);
                let running = if self.arguments.drift {
                    // Repairs include a sysctl, for which a confined weir lacks the permission.
                    let mut command = enter(weir.as_os_str());
                    command.arg("run").args(arguments);
                    Running::start(command)?
                } else {
                    run_confined(enter, weir, &arguments)?
                };
                Live::Weir(running, access)
            }
        });
        patience::until(GENEROUS * 2, || self.expect_well()).map_err(|error| self.blame(&error))?;
        self.settled().map(drop)
    }

    fn expect_well(&self) -> Result<()> {
        let page = self.netns.inside(|| http::get(HEALTH, "/healthz"))??;
        ensure!(page.status == 200, "{page:?}");
        let servers = self.netns.run("ipvsadm", &["-Sn"])?;
        let wanted = format!("{} ", self.target(Vip::Cluster, Family::V6));
        ensure!(servers.contains(&wanted), "not programmed yet");
        Ok(())
    }

    /// The node's state once it has stopped changing.
    pub(crate) fn settled(&self) -> Result<Dump> {
        patience::until(GENEROUS * 2, || {
            let before = self.dump()?;
            std::thread::sleep(std::time::Duration::from_secs(2));
            let after = self.dump()?;
            ensure!(before == after, "the node keeps changing:\n{}", after.differences(&before));
            Ok(after)
        })
    }

    /// The node's state.
    pub(crate) fn dump(&self) -> Result<Dump> {
        Dump::of(&self.netns)
    }

    /// Runs lines of bash on the node.
    pub(crate) fn script(&self, lines: &str) -> Result<String> {
        self.netns.script(lines)
    }

    /// Stops the program as a DaemonSet does.
    pub(crate) fn stop(&mut self) -> Result<()> {
        match self.running.take() {
            Some(Live::KubeProxy(kube_proxy)) => kube_proxy.stop(),
            Some(Live::Weir(mut running, _access)) => {
                let id = i32::try_from(running.id()).context("invalid process id")?;
                kill(Pid::from_raw(id), Signal::SIGTERM).context("cannot stop weir")?;
                let status = running.await_end(GENEROUS)?;
                ensure!(status == Some(0), "weir exited with {status:?}; {}", running.log_tail());
                Ok(())
            }
            None => bail!("no program is running"),
        }
    }

    /// Stops the program, runs `kube-proxy --cleanup`, and checks that IPVS mode no longer receives packets.
    pub(crate) fn clean_up_by_kube_proxy(&mut self) -> Result<()> {
        self.stop()?;
        let output = self.netns.command(&self.arguments.programs.kube_proxy).arg("--cleanup").output();
        let output = output.context("cannot start kube-proxy")?;
        // kube-proxy exits with status 1 on its own rules too. It first deletes chains to which rules of IPVS mode
        // still jump (`iptables.CleanupLeftovers` before `ipvs.CleanupLeftovers` in cmd/kube-proxy/app/server_linux.go).
        let log = String::from_utf8_lossy(&output.stderr);
        for (program, arguments, left) in [
            ("ipvsadm", &["-Sn"] as &[&str], "-A"),
            ("ipset", &["list", "-name"], "KUBE-"),
            ("ip", &["-oneline", "link", "show"], DUMMY_DEVICE),
            ("iptables-save", &["-t", "nat"], "-j KUBE-SERVICES"),
            ("ip6tables-save", &["-t", "nat"], "-j KUBE-SERVICES"),
        ] {
            let text = self.netns.run(program, arguments)?;
            // It leaves the IPv6 sets, to which no rule refers any more.
            let is_left = text.lines().any(|line| line.contains(left) && !line.starts_with("KUBE-6-"));
            ensure!(!is_left, "{program} still shows {left}:\n{text}\n{log}");
        }
        Ok(())
    }

    /// Kills the program outright.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.running.take().map(drop).context("no program is running")
    }

    /// The changes that the kernel is asked to make meanwhile, by any program.
    pub(crate) fn requests_while(
        &mut self,
        action: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<BTreeMap<String, usize>> {
        let tap = Tap::start(&self.netns)?;
        action(self)?;
        tap.stop()
    }

    /// The changes weir has logged since it was started.
    pub(crate) fn changes(&self) -> Result<Vec<String>> {
        let Some(Live::Weir(running, _)) = &self.running else { bail!("weir is not running") };
        let lines = running.log()?;
        ensure!(
            lines.iter().any(|line| line.field("message") == "listed"),
            "the log reports no changes: {}",
            running.log_tail()
        );
        let changes = lines.iter().filter(|line| !line.field("change").is_empty());
        Ok(changes.map(|line| line.field("change")).collect())
    }

    /// Checks that a new service is programmed, and a deleted one is removed.
    pub(crate) fn follows_a_change(&self) -> Result<()> {
        let service = self.busy_like("late", 99);
        let server = format!("{} ", at(service.cluster_ip(Family::V4), PORT));
        self.client.apply(&service.to_list())?;
        patience::until(GENEROUS * 3, || {
            ensure!(self.netns.run("ipvsadm", &["-Sn"])?.contains(&server), "{server} is missing");
            Ok(())
        })?;
        self.client.delete("Service", "default", "late")?;
        patience::until(GENEROUS * 3, || {
            ensure!(!self.netns.run("ipvsadm", &["-Sn"])?.contains(&server), "{server} still exists");
            Ok(())
        })
    }

    fn busy_like(&self, name: &str, number: u8) -> Service {
        Service::new(name, number)
            .with_port(Protocol::Tcp, PORT)
            .with_endpoints([self.cluster.endpoint("web-1")])
    }

    /// A pod, or the outside machine.
    pub(crate) fn host(&self, name: &str) -> &Host {
        lab::host(&self.cluster, name)
    }

    /// The address of the busy service.
    pub(crate) fn target(&self, vip: Vip, family: Family) -> SocketAddr {
        lab::target(&self.cluster, &self.busy, vip, family)
    }

    fn blame(&self, error: &anyhow::Error) -> anyhow::Error {
        let log = match &self.running {
            Some(Live::KubeProxy(kube_proxy)) => kube_proxy.log_tail(),
            Some(Live::Weir(running, _)) => running.log_tail(),
            None => String::new(),
        };
        anyhow::anyhow!("{error:#}\n{log}")
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // Stopped before the namespace it runs in is removed.
        self.running = None;
    }
}

/// Fails if there are changes.
pub(crate) fn nothing<C: Debug>(changes: impl IntoIterator<Item = C>) -> Result<()> {
    let changes: Vec<C> = changes.into_iter().collect();
    ensure!(changes.is_empty(), "{changes:#?}");
    Ok(())
}

/// Services of all kinds.
fn services(cluster: &Cluster) -> Vec<Service> {
    let all = || ["web-1", "web-2", "far-1"].map(|pod| cluster.endpoint(pod));
    vec![
        with_node_ports("busy", BUSY).with_external_ip().with_load_balancer().with_endpoints(all()),
        with_node_ports("local", 11)
            .with_load_balancer()
            .with("externalTrafficPolicy", json!("Local"))
            .with_endpoints(all()),
        with_node_ports("ranged", 12)
            .with_load_balancer()
            .with("loadBalancerSourceRanges", json!(["10.0.2.0/24", "fd00:10:2::/64"]))
            .with_endpoints(all()),
        Service::new("sticky", 13)
            .with_port(Protocol::Tcp, PORT)
            .with("sessionAffinity", json!("ClientIP"))
            .with_endpoints(all()),
        Service::new("sctp", 14).with_port(Protocol::Sctp, PORT).with_endpoints(all()),
        Service::new("internal-local", 15)
            .with_port(Protocol::Tcp, PORT)
            .with("internalTrafficPolicy", json!("Local"))
            .with_endpoints(all()),
        Service::new("empty", 16).with_port(Protocol::Tcp, PORT),
    ]
}
