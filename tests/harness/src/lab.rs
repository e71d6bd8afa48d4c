//! A cluster shared by tests, with weir running in it.
//!
//! Tests take turns. Each replaces its predecessor's services by its own; weir is restarted only for different
//! flags or a different policy.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::PermissionDenied;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;
use weir_core::net::{Family, Protocol};

use crate::cluster::{Answer, Cluster, Daemon, Failure, Host, Node, POD_PORT, Place, Service, Tally};
use crate::patience;
use crate::policy::{Plugin, Policy};
use crate::weir::Manifests;

/// The pods, all with servers; names of pods that are usually clients end in `app`.
pub const PODS: &[(&str, Place)] = &[
    ("app", Place::Local),
    ("web-1", Place::Local),
    ("web-2", Place::Local),
    ("far-1", Place::Remote),
    ("far-app", Place::Remote),
];

/// The port of services at all VIPs except the nodes' own addresses.
pub const PORT: u16 = 80;

/// The node port of the service with this number.
pub fn node_port(number: u8) -> u16 {
    30000 + u16::from(number)
}

/// A service for TCP and UDP at cluster IPs and node ports, without endpoints.
pub fn with_node_ports(name: &str, number: u8) -> Service {
    [Protocol::Tcp, Protocol::Udp].into_iter().fold(Service::new(name, number), |service, protocol| {
        service.with_node_port(protocol, PORT, node_port(number))
    })
}

/// A pod, the node or the outside machine.
///
/// # Panics
/// As [`Cluster::pod`].
pub fn host<'c>(cluster: &'c Cluster, name: &str) -> &'c Host {
    match name {
        "node" => cluster.node(),
        "outside" => cluster.outside(),
        pod => &cluster.pod(pod).host,
    }
}

/// The address of a service that has its ports at [`PORT`], and its node ports numbered by [`with_node_ports`].
pub fn target(cluster: &Cluster, service: &Service, vip: Vip, family: Family) -> SocketAddr {
    match vip {
        Vip::Cluster => at(service.cluster_ip(family), PORT),
        Vip::External => at(service.external_ip(family), PORT),
        Vip::LoadBalancer => at(service.load_balancer_ip(family), PORT),
        Vip::NodePort => at(cluster.node().address(family), node_port(service.number())),
    }
}

/// A test of the cluster.
pub type Test = fn(&mut Lab) -> Result<()>;

/// Runs tests selected by the command line.
pub fn run(program: &str, tests: &[&[(&str, Test)]]) -> ExitCode {
    // Created by the first test that runs, so that `--list` needs neither privileges nor time.
    let lab: Arc<Mutex<Option<Lab>>> = Arc::default();
    let trial = |&(name, test): &(&str, Test)| {
        let (lab, program) = (Arc::clone(&lab), PathBuf::from(program));
        Trial::test(name, move || {
            // A failed test leaves a cluster that the next one can use.
            let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
            run_one(&mut lab, &program, test).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let trials = tests.iter().copied().flatten().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run_one(lab: &mut Option<Lab>, program: &Path, test: Test) -> Result<()> {
    let lab = match lab {
        Some(lab) => lab,
        None => lab.insert(Lab::new(program)?),
    };
    test(lab)?;
    lab.expect_health()
}

/// The cluster and its daemon.
#[derive(Debug)]
pub struct Lab {
    program: PathBuf,
    // Dropped before the cluster, because it cleans up in it.
    daemon: Option<Daemon>,
    /// The services' files.
    files: BTreeSet<String>,
    /// State that outlives a weir with plugins: mainly machine code, which takes seconds to compile here.
    state: TempDir,
    /// The nodes, the pods, and the outside machine.
    pub cluster: Cluster,
}

impl Lab {
    fn new(program: &Path) -> Result<Lab> {
        let cluster = Cluster::new(PODS).context("cannot create the cluster")?;
        let state = tempfile::tempdir().context("cannot create the state directory")?;
        Ok(Lab { program: program.to_owned(), daemon: None, files: BTreeSet::new(), state, cluster })
    }

    /// Makes these the only services of a weir with these flags, and waits until the kernel matches the plan.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn serve_with(&mut self, flags: &[&str], services: &[&Service]) -> Result<()> {
        let same = |daemon: &&Daemon| daemon.flags() == flags && daemon.policy().is_none();
        if let Some(daemon) = self.daemon.as_ref().filter(same) {
            self.files = exchange(daemon.manifests(), &self.files, services)?;
            return daemon.settle();
        }
        // The old one exits and cleans up before the new one starts.
        self.daemon = None;
        let manifests = Manifests::new()?;
        manifests.put(&node_file(0), self.node(Place::Local).to_json())?;
        self.files = exchange(&manifests, &BTreeSet::new(), services)?;
        self.daemon = Some(Daemon::start(&self.cluster, &self.program, flags, manifests)?);
        Ok(())
    }

    /// Makes these the only services of a weir with these plugins and nodes, and waits until the kernel matches
    /// the plan. If anything differs from before, weir is restarted: a policy's decisions may depend on earlier
    /// state.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn serve_by(&mut self, plugins: &[Plugin], nodes: &[Node], services: &[&Service]) -> Result<()> {
        self.serve_by_with(&[], plugins, nodes, services)
    }

    /// Like [`Lab::serve_by`], with these flags.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn serve_by_with(
        &mut self,
        flags: &[&str],
        plugins: &[Plugin],
        nodes: &[Node],
        services: &[&Service],
    ) -> Result<()> {
        let mut input: BTreeMap<String, String> =
            services.iter().map(|service| (file(service), service.to_list())).collect();
        input.extend(nodes.iter().enumerate().map(|(number, node)| (node_file(number), node.to_json())));
        if let Some(daemon) = &self.daemon
            && daemon.flags() == flags
            && daemon.policy().is_some_and(|policy| policy.plugins() == plugins)
            && daemon.manifests().content()? == input
        {
            return Ok(());
        }
        self.daemon = None;
        let manifests = Manifests::new()?;
        input.iter().try_for_each(|(name, text)| manifests.put(name, text))?;
        let policy = Policy::new(plugins, self.state.path())?;
        self.daemon =
            Some(Daemon::start_with_policy(&self.cluster, &self.program, flags, policy, manifests)?);
        Ok(())
    }

    /// The Node object at this place.
    pub fn node(&self, place: Place) -> Node {
        Node::of(&self.cluster, place)
    }

    /// Rewrites one of the nodes, by its place in the list, without waiting.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_node(&self, number: usize, node: &Node) -> Result<()> {
        self.daemon()?.manifests().put(&node_file(number), node.to_json())
    }

    /// Rewrites one of the services, without waiting.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, service: &Service) -> Result<()> {
        self.daemon()?.manifests().put(&file(service), service.to_list())
    }

    /// Makes these the only services of a weir without flags.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn serve(&mut self, services: &[&Service]) -> Result<()> {
        self.serve_with(&[], services)
    }

    /// Kills weir, until [`Lab::restart`].
    ///
    /// # Errors
    /// When it was not started.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.as_mut().context("weir was not started").map(Daemon::kill)
    }

    /// Kills weir and starts it again on the state it left.
    ///
    /// # Errors
    /// When it was not started, or the kernel does not match the plan.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.as_mut().context("weir was not started")?.restart()
    }

    /// Like [`Lab::restart`], while real servers drain.
    ///
    /// # Errors
    /// When it was not started, or has not compared the kernel with its plan.
    pub fn restart_while_draining(&mut self) -> Result<()> {
        self.daemon.as_mut().context("weir was not started")?.restart_while_draining()
    }

    /// The running weir.
    ///
    /// # Errors
    /// When it was not started.
    pub fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("weir was not started")
    }

    /// Replaces the component of a running plugin.
    ///
    /// # Errors
    /// When there is no such plugin, or its file cannot be written.
    pub fn exchange(&mut self, plugin: &str, package: &'static str) -> Result<()> {
        let policy = self.daemon.as_mut().and_then(Daemon::policy_mut).context("weir has no policy")?;
        policy.exchange(plugin, package)
    }

    fn expect_health(&mut self) -> Result<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::expect_health)
    }

    /// A pod, the node or the outside machine.
    pub fn host(&self, name: &str) -> &Host {
        host(&self.cluster, name)
    }

    /// A service for TCP and UDP at a cluster IP, with these pods as endpoints.
    pub fn internal(&self, number: u8, pods: &[&str]) -> Service {
        let service = Service::new(&format!("service-{number}"), number);
        let service = service.with_port(Protocol::Tcp, PORT).with_port(Protocol::Udp, PORT);
        self.with_pods(service, pods)
    }

    /// A service for TCP and UDP at VIPs of all kinds, with these pods as endpoints.
    pub fn exposed(&self, number: u8, pods: &[&str]) -> Service {
        let service = with_node_ports(&format!("service-{number}"), number);
        self.with_pods(service.with_external_ip().with_load_balancer(), pods)
    }

    /// The service with these pods as endpoints.
    pub fn with_pods(&self, service: Service, pods: &[&str]) -> Service {
        service.with_endpoints(pods.iter().map(|pod| self.cluster.endpoint(pod)))
    }

    /// The address of a service.
    pub fn target(&self, service: &Service, vip: Vip, family: Family) -> SocketAddr {
        target(&self.cluster, service, vip, family)
    }

    /// Sends one request that must be answered.
    ///
    /// # Errors
    /// When it is not.
    pub fn ask(&self, client: &str, protocol: Protocol, target: SocketAddr) -> Result<Answer> {
        let answer = self.host(client).request(protocol, target);
        answer.with_context(|| format!("{client} → {protocol} {target}"))
    }

    /// Sends requests that must all be answered.
    ///
    /// # Errors
    /// When one is not.
    pub fn ask_often(
        &self,
        client: &str,
        protocol: Protocol,
        target: SocketAddr,
        requests: usize,
    ) -> Result<Tally> {
        let tally = self.host(client).requests(requests, protocol, target);
        ensure!(tally.failures.is_empty(), "{client} → {protocol} {target}: requests failed: {tally:?}");
        Ok(tally)
    }

    /// Sends requests that must get no answer, or be denied if the client is the node itself. They run
    /// concurrently, as each takes its full time.
    ///
    /// # Errors
    /// When one is answered, or refused.
    pub fn expect_silence(&self, requests: &[(&str, Protocol, SocketAddr)]) -> Result<()> {
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
            ensure!(silent, "{client} → {protocol} {target}: {result:?}, expected silence");
        }
        Ok(())
    }

    /// Sends a request that must not be answered: a host that lost its address may refuse or stay silent.
    ///
    /// # Errors
    /// When it is answered.
    pub fn expect_unreachable(&self, client: &str, protocol: Protocol, target: SocketAddr) -> Result<()> {
        let result = self.host(client).request_within(SILENCE, protocol, target);
        ensure!(result.is_err(), "{client} → {protocol} {target}: {result:?}, expected no answer");
        Ok(())
    }

    /// Sends requests that must be answered by these pods, with these numbers from each.
    ///
    /// # Errors
    /// When other pods answer, or a request is not answered.
    pub fn expect_spread(
        &self,
        client: &str,
        protocol: Protocol,
        target: SocketAddr,
        spread: &[(&str, usize)],
    ) -> Result<()> {
        let requests = spread.iter().map(|(_, count)| count).sum();
        let tally = self.ask_often(client, protocol, target, requests)?;
        let wanted: BTreeMap<String, usize> =
            spread.iter().map(|&(pod, count)| (pod.to_owned(), count)).collect();
        ensure!(tally.answers == wanted, "{client} → {protocol} {target}: {tally:?}, expected {wanted:?}");
        Ok(())
    }

    /// Waits until a VIP has exactly these pods with these weights, for TCP; all others are quiesced.
    ///
    /// # Errors
    /// The actual weights, after a generous time.
    pub fn await_weights(&self, target: SocketAddr, weights: &[(&str, u32)]) -> Result<()> {
        let family = Family::of(target.ip());
        let mut wanted: Vec<(String, u32)> =
            weights.iter().map(|&(pod, weight)| (self.endpoint(pod, family), weight)).collect();
        wanted.sort();
        let daemon = self.daemon()?;
        let reached = patience::until(patience::GENEROUS, || {
            let mut active = daemon.real_servers(Protocol::Tcp, target)?;
            active.retain(|(_, weight)| *weight > 0);
            active.sort();
            ensure!(active == wanted, "{target} has the real servers {active:?}, expected {wanted:?}");
            Ok(())
        });
        reached.map_err(|error| daemon.blame(&error))
    }

    /// A pod's server, in the format of `ipvsadm`.
    pub fn endpoint(&self, pod: &str, family: Family) -> String {
        SocketAddr::new(self.host(pod).address(family), POD_PORT).to_string()
    }

    /// Sends requests to every endpoint; all servers must see the client's own address.
    ///
    /// # Errors
    /// When a server sees another address, or there is no answer.
    pub fn expect_kept(&self, client: &str, protocol: Protocol, target: SocketAddr) -> Result<()> {
        let own = self.host(client).address(Family::of(target.ip()));
        for _ in 0..ROUNDS {
            let answer = self.ask(client, protocol, target)?;
            ensure!(
                answer.source.ip() == own,
                "{client} → {protocol} {target}: {answer:?}, expected the source {own}"
            );
        }
        Ok(())
    }

    /// Sends requests to every endpoint; all servers must see the node's address.
    ///
    /// # Errors
    /// When a server sees another address, or there is no answer.
    pub fn expect_masqueraded(&self, client: &str, protocol: Protocol, target: SocketAddr) -> Result<()> {
        for _ in 0..ROUNDS {
            let answer = self.ask(client, protocol, target)?;
            let pod = self.cluster.pod(&answer.server);
            let node = self.cluster.masquerade(pod, Family::of(target.ip()));
            ensure!(
                answer.source.ip() == node,
                "{client} → {protocol} {target}: {answer:?}, expected the source {node}"
            );
        }
        Ok(())
    }
}

/// How long a request must stay unanswered to count as silence: many times what an answer takes.
const SILENCE: Duration = Duration::from_secs(1);

/// Number of requests that reach each of at most three endpoints at least once, round robin.
const ROUNDS: usize = 3;

/// The kinds of VIPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vip {
    /// The cluster IP.
    Cluster,
    /// The external IP.
    External,
    /// The load balancer's IP.
    LoadBalancer,
    /// The node's own address with the node port.
    NodePort,
}

impl Vip {
    /// All of them.
    pub const ALL: [Vip; 4] = [Vip::Cluster, Vip::External, Vip::LoadBalancer, Vip::NodePort];

    /// VIPs for clients outside.
    pub const PUBLIC: [Vip; 3] = [Vip::External, Vip::LoadBalancer, Vip::NodePort];
}

fn file(service: &Service) -> String {
    format!("{}.json", service.name())
}

fn node_file(number: usize) -> String {
    format!("node-{number}.json")
}

/// Makes these the only services, and returns their files.
fn exchange(
    manifests: &Manifests,
    old: &BTreeSet<String>,
    services: &[&Service],
) -> Result<BTreeSet<String>> {
    let new: BTreeSet<String> = services.iter().map(|service| file(service)).collect();
    old.difference(&new).try_for_each(|gone| manifests.remove(gone))?;
    services.iter().try_for_each(|service| manifests.put(&file(service), service.to_list()))?;
    Ok(new)
}

/// Address and port.
pub fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// The combinations most tests use: TCP and UDP, in both families.
pub fn paths() -> impl Iterator<Item = (Family, Protocol)> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| [Protocol::Tcp, Protocol::Udp].map(|protocol| (family, protocol)))
}
