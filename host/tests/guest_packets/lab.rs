//! The cluster that all tests share, and weir in it.

use std::collections::BTreeSet;
use std::io::ErrorKind::PermissionDenied;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{self, Answer, Cluster, Daemon, Failure, Host, Place, Service, Tally};
use weir_harness::weir::Manifests;

/// The program under test.
const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// The pods, all with servers; the names of those that are usually only clients end in `app`.
const PODS: &[(&str, Place)] = &[
    ("app", Place::Local),
    ("web-1", Place::Local),
    ("web-2", Place::Local),
    ("far-1", Place::Remote),
    ("far-app", Place::Remote),
];

/// The port of services at all VIPs but the nodes' own addresses.
pub(crate) const PORT: u16 = 80;

/// The node port of the service with this number.
fn node_port(number: u8) -> u16 {
    30000 + u16::from(number)
}

/// The cluster and its daemon.
pub(crate) struct Lab {
    // Before the cluster, because it cleans up in it.
    daemon: Option<Daemon>,
    /// The services' files.
    files: BTreeSet<String>,
    pub(crate) cluster: Cluster,
}

impl Lab {
    pub(crate) fn new() -> Result<Lab> {
        Ok(Lab { daemon: None, files: BTreeSet::new(), cluster: Cluster::new(PODS).context("no cluster")? })
    }

    /// Makes these the only services, of a weir with these flags, and waits until the kernel is as planned.
    pub(crate) fn serve_with(&mut self, flags: &[&str], services: &[&Service]) -> Result<()> {
        let wanted: BTreeSet<String> = services.iter().map(|service| file(service)).collect();
        let old = std::mem::replace(&mut self.files, wanted);
        if let Some(daemon) = self.daemon.as_ref().filter(|daemon| daemon.flags() == flags) {
            for gone in old.difference(&self.files) {
                daemon.manifests().remove(gone)?;
            }
            put_all(daemon.manifests(), services)?;
            return daemon.settle();
        }
        // The old one ends and cleans up before the new one starts.
        self.daemon = None;
        let manifests = Manifests::new()?;
        manifests.put("node.json", &cluster::node(&self.cluster))?;
        put_all(&manifests, services)?;
        self.daemon = Some(Daemon::start(&self.cluster, Path::new(WEIR), flags, manifests)?);
        Ok(())
    }

    /// Writes one of the services anew, and waits for nothing.
    pub(crate) fn put(&self, service: &Service) -> Result<()> {
        self.daemon()?.manifests().put(&file(service), &service.to_list())
    }

    /// Makes these the only services, of a weir without flags.
    pub(crate) fn serve(&mut self, services: &[&Service]) -> Result<()> {
        self.serve_with(&[], services)
    }

    /// Kills weir and starts it again on what it left.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.daemon.as_mut().context("weir was not started")?.restart()
    }

    /// The running weir.
    pub(crate) fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("weir was not started")
    }

    pub(crate) fn expect_health(&mut self) -> Result<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::expect_health)
    }

    /// A pod, the node or the machine outside.
    pub(crate) fn host(&self, name: &str) -> &Host {
        match name {
            "node" => self.cluster.node(),
            "outside" => self.cluster.outside(),
            pod => &self.cluster.pod(pod).host,
        }
    }

    /// A service for TCP and UDP at a cluster IP, with these pods as endpoints.
    pub(crate) fn internal(&self, number: u8, pods: &[&str]) -> Service {
        let service = Service::new(&format!("service-{number}"), number);
        let service = service.with_port(Protocol::Tcp, PORT).with_port(Protocol::Udp, PORT);
        self.with_pods(service, pods)
    }

    /// A service for TCP and UDP at VIPs of all kinds, with these pods as endpoints.
    pub(crate) fn exposed(&self, number: u8, pods: &[&str]) -> Service {
        let service = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .fold(Service::new(&format!("service-{number}"), number), |service, protocol| {
                service.with_node_port(protocol, PORT, node_port(number))
            });
        self.with_pods(service.with_external_ip().with_load_balancer(), pods)
    }

    /// The service with these pods as endpoints.
    pub(crate) fn with_pods(&self, service: Service, pods: &[&str]) -> Service {
        service.with_endpoints(pods.iter().map(|pod| self.cluster.endpoint(pod)))
    }

    /// Where a service answers.
    pub(crate) fn target(&self, service: &Service, vip: Vip, family: Family) -> SocketAddr {
        match vip {
            Vip::Cluster => at(service.cluster_ip(family), PORT),
            Vip::External => at(service.external_ip(family), PORT),
            Vip::LoadBalancer => at(service.load_balancer_ip(family), PORT),
            Vip::NodePort => at(self.cluster.node().address(family), node_port(service.number())),
        }
    }

    /// One request that must be answered.
    pub(crate) fn ask(&self, client: &str, protocol: Protocol, target: SocketAddr) -> Result<Answer> {
        let answer = self.host(client).request(protocol, target);
        answer.with_context(|| format!("{client} asks {protocol} {target}"))
    }

    /// Requests that must all be answered.
    pub(crate) fn ask_often(
        &self,
        client: &str,
        protocol: Protocol,
        target: SocketAddr,
        requests: usize,
    ) -> Result<Tally> {
        let tally = self.host(client).requests(requests, protocol, target);
        ensure!(tally.failures.is_empty(), "{client} asks {protocol} {target}: {tally:?}");
        Ok(tally)
    }

    /// Requests, all at once because each takes its time, that must stay unanswered, or be denied where the client is
    /// the node itself.
    pub(crate) fn expect_silence(&self, requests: &[(&str, Protocol, SocketAddr)]) -> Result<()> {
        let results: Vec<_> = thread::scope(|scope| {
            let ask = |&(client, protocol, target): &(&str, Protocol, SocketAddr)| {
                let host = self.host(client);
                scope.spawn(move || host.request_within(SILENCE, protocol, target))
            };
            let threads: Vec<_> = requests.iter().map(ask).collect();
            threads.into_iter().map(|thread| thread.join().expect("a request does not panic")).collect()
        });
        for ((client, protocol, target), result) in requests.iter().zip(results) {
            let denied = *client == "node" && result == Err(Failure::Other(PermissionDenied));
            let silent = result == Err(Failure::Unanswered) || denied;
            ensure!(silent, "{client} asks {protocol} {target}: {result:?}");
        }
        Ok(())
    }

    /// Requests to every endpoint, whose servers must all see the client's own address.
    pub(crate) fn expect_kept(&self, client: &str, protocol: Protocol, target: SocketAddr) -> Result<()> {
        let own = self.host(client).address(Family::of(target.ip()));
        for _ in 0..ROUNDS {
            let answer = self.ask(client, protocol, target)?;
            ensure!(answer.source.ip() == own, "{client} asks {protocol} {target}: {answer:?}, not {own}");
        }
        Ok(())
    }

    /// Requests to every endpoint, whose servers must all see the node's address.
    pub(crate) fn expect_masqueraded(
        &self,
        client: &str,
        protocol: Protocol,
        target: SocketAddr,
    ) -> Result<()> {
        for _ in 0..ROUNDS {
            let answer = self.ask(client, protocol, target)?;
            let pod = self.cluster.pod(&answer.server);
            let node = self.cluster.masquerade(pod, Family::of(target.ip()));
            ensure!(answer.source.ip() == node, "{client} asks {protocol} {target}: {answer:?}, not {node}");
        }
        Ok(())
    }
}

/// How long nothing must come back to count as silence: many times what an answer takes.
const SILENCE: Duration = Duration::from_secs(1);

/// Requests that reach each of at most three endpoints at least once, round robin.
const ROUNDS: usize = 3;

/// The kinds of VIPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vip {
    Cluster,
    External,
    LoadBalancer,
    NodePort,
}

impl Vip {
    pub(crate) const ALL: [Vip; 4] = [Vip::Cluster, Vip::External, Vip::LoadBalancer, Vip::NodePort];

    /// Those for clients outside.
    pub(crate) const PUBLIC: [Vip; 3] = [Vip::External, Vip::LoadBalancer, Vip::NodePort];
}

fn file(service: &Service) -> String {
    format!("{}.json", service.name())
}

fn put_all(manifests: &Manifests, services: &[&Service]) -> Result<()> {
    services.iter().try_for_each(|service| manifests.put(&file(service), &service.to_list()))
}

/// Address and port.
pub(crate) fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// What most tests go through: TCP and UDP, in both families.
pub(crate) fn paths() -> impl Iterator<Item = (Family, Protocol)> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| [Protocol::Tcp, Protocol::Udp].map(|protocol| (family, protocol)))
}
