//! Lab policies that are planned as on a node, at virtual times.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use weir_core::cluster::Event;
use weir_core::decision::VipKind;
use weir_core::net::Protocol;
use weir_core::node::Capabilities;
use weir_core::objects::ObjectName;
use weir_core::planner::Planner;
use weir_core::policy::Policy;
use weir_core::report::Reason;
use weir_core::sampling::{Reading, Totals};
use weir_core::state::{RealServer, VirtualServer};
use weir_lab::traffic::{ClientNodes, ServiceTraffic};
use weir_lab::weights::{Arrangement, Seen, Weights};
use weir_policy::Chain;
use weir_policy::configuration;

use crate::inputs::{self, Settings};

/// The start of virtual time, in seconds since 1970: 2026-01-01. It is fixed, so that plugins that use the time
/// always give the same answers.
const START: u64 = 1_767_225_600;
/// How often to check whether a policy wants to be called again.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a plugin may take to answer, in real time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Printed for a virtual server with persistence.
const AFFINITY: &str = "session affinity is not simulated; each connection is scheduled anew";

/// The simulated target: the virtual server of a Service's cluster IP, and all endpoints that a client node may
/// reach.
pub(super) struct Target {
    service: ObjectName,
    server: VirtualServer,
    /// The endpoints, sorted.
    pub(super) addresses: Vec<SocketAddr>,
}

/// The client nodes and their objects.
pub(super) struct Laboratory {
    /// One entry per named client node, or a single entry if the traffic file gives only their number.
    nodes: Vec<(Settings, Vec<Event>)>,
    /// Loaded chains, by policy file and index in `nodes`. Each run gets a fresh copy.
    chains: BTreeMap<(PathBuf, usize), Chain>,
    notes: Rc<RefCell<Notes>>,
}

/// Messages about plugins, each printed once however often it occurs.
#[derive(Default)]
struct Notes {
    /// Whether a plugin was refused or failed.
    failed: bool,
    said: BTreeSet<String>,
}

impl Notes {
    fn say(&mut self, remark: String) {
        if !self.said.contains(&remark) {
            inputs::warn(&remark);
            self.said.insert(remark);
        }
    }
}

impl Laboratory {
    /// Reads the objects as each client node sees them.
    pub(super) fn new(
        manifests: &Path,
        settings: Settings,
        nodes: &ClientNodes,
    ) -> anyhow::Result<Laboratory> {
        let settings = match nodes {
            ClientNodes::Count(_) => vec![settings],
            ClientNodes::Named(names) => {
                let named = |name: &String| Settings { node_name: name.clone(), ..settings.clone() };
                names.iter().map(named).collect()
            }
        };
        let with_objects = |settings: Settings| {
            let objects = inputs::objects(manifests, &settings)?;
            Ok((settings, objects))
        };
        let nodes = settings.into_iter().map(with_objects).collect::<anyhow::Result<_>>()?;
        Ok(Laboratory { nodes, chains: BTreeMap::new(), notes: Rc::default() })
    }

    fn planner(&self, node: usize, chain: Chain, scheduler: Option<&str>) -> Planner {
        let (settings, objects) = &self.nodes[node];
        let mut settings = settings.clone();
        if let Some(scheduler) = scheduler {
            settings.proxy.scheduler = scheduler.to_owned();
        }
        // The lab simulates cluster IPs, which do not depend on the node's addresses.
        inputs::planner_of(objects.clone(), &settings, chain, Vec::new(), Capabilities::assumed())
    }

    /// The virtual server that a service's traffic goes to.
    pub(super) fn target(&self, traffic: &ServiceTraffic) -> anyhow::Result<Rc<Target>> {
        let service = &traffic.service;
        let (namespace, name) = service
            .split_once('/')
            .with_context(|| format!("service `{service}`: must be written as NAMESPACE/NAME"))?;
        let name = ObjectName::new(namespace, name);
        let mut addresses = BTreeSet::new();
        let mut servers = BTreeSet::new();
        for node in 0..self.nodes.len() {
            let mut planner = self.planner(node, Chain::default(), None);
            let Some(explanation) = planner.explain(&name, START) else {
                let known: Vec<String> = planner.service_names().map(ToString::to_string).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                bail!(
                    "service {name} not found in the manifests, or not handled by this node; available services: \
                     {known}"
                );
            };
            for (server, want) in explanation.wants.servers {
                let wanted = traffic.port.is_none_or(|port| server.address.port() == port);
                if want.kinds.contains(VipKind::Cluster) && server.protocol == Protocol::Tcp && wanted {
                    servers.insert(server);
                    addresses.extend(want.server.real_servers.into_keys().map(|RealServer(address)| address));
                }
            }
        }
        let ports: BTreeSet<u16> = servers.iter().map(|server| server.address.port()).collect();
        let server = match (servers.first(), ports.len()) {
            (Some(server), 1) => *server,
            (None, _) => match traffic.port {
                Some(port) => bail!("service {name} has no TCP port {port} on a cluster IP"),
                None => bail!("service {name} has no TCP port on a cluster IP"),
            },
            (Some(_), _) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                bail!("service {name} has several TCP ports; set `port` to one of {}", ports.join(", "))
            }
        };
        // A dual-stack Service also has IPv6 endpoints.
        addresses.retain(|address| address.is_ipv4() == server.address.is_ipv4());
        if addresses.is_empty() {
            bail!("service {name} has no endpoints that accept connections");
        }
        Ok(Rc::new(Target { service: name, server, addresses: addresses.into_iter().collect() }))
    }

    /// A policy planned by weir for this many client nodes: the plugins of a file, or the built-in policy, optionally
    /// with another default scheduler.
    pub(super) fn planned(
        &mut self,
        target: &Rc<Target>,
        count: usize,
        file: Option<&Path>,
        scheduler: Option<&str>,
    ) -> anyhow::Result<Planned> {
        let mut nodes = Vec::new();
        let mut period = None;
        for node in 0..self.nodes.len() {
            let chain = match file {
                Some(file) => self.chain(file, node)?,
                None => Chain::default(),
            };
            let planner =
                || Node { planner: self.planner(node, chain.clone(), scheduler), arrangement: None };
            nodes.push(planner());
            let views = nodes[node].planner.views();
            let wishes = views.iter().filter(|view| view.service.name == target.service);
            let wishes = wishes.flat_map(|view| chain.wishes(&view.service));
            let shortest = wishes.map(|wish| Duration::from_secs(wish.period.into())).min();
            period = period.into_iter().chain(shortest).min();
            if period.is_some() && self.nodes.len() == 1 {
                // Each node reads its own counters.
                nodes.resize_with(count, planner);
            }
        }
        Ok(Planned { target: Rc::clone(target), nodes, period, notes: Rc::clone(&self.notes) })
    }

    fn chain(&mut self, file: &Path, node: usize) -> anyhow::Result<Chain> {
        let key = (file.to_owned(), node);
        if let Some(chain) = self.chains.get(&key) {
            return Ok(chain.clone());
        }
        let place = || format!("policy {}", file.display());
        let mut configuration = configuration::load(file).with_context(place)?;
        for plugin in configuration.plugins.iter_mut().filter_map(|entry| entry.plugin.as_mut().ok()) {
            // Time is virtual: how busy this machine is must not affect the results.
            (plugin.limits.call_timeout, plugin.limits.sync_budget) = (PATIENCE, PATIENCE);
        }
        let plugins =
            inputs::plugins(&configuration, &[], &self.nodes[node].0.node_name).with_context(place)?;
        self.notes.borrow_mut().failed |= !plugins.refused.is_empty();
        self.chains.insert(key, plugins.chain.clone());
        Ok(plugins.chain)
    }

    /// Exit status 1 if a plugin was refused or failed.
    pub(super) fn status(&self) -> ExitCode {
        if self.notes.borrow().failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// A policy planned by weir's planner, on each client node.
pub(super) struct Planned {
    target: Rc<Target>,
    /// A single entry if the traffic file gives only the number of client nodes, and nothing is sampled.
    nodes: Vec<Node>,
    /// How often the kernel is read for the policy.
    period: Option<Duration>,
    notes: Rc<RefCell<Notes>>,
}

/// The planner of a client node.
struct Node {
    planner: Planner,
    /// The last plan.
    arrangement: Option<Arrangement>,
}

impl Target {
    /// Gives the planner the counters that could be read from the kernel now, if a reading is due. Returns whether this
    /// may change the plan.
    fn sample(&self, planner: &mut Planner, now: Duration, seen: &[Option<Seen>]) -> bool {
        let reading = |seen: &Seen| Reading {
            active: seen.active,
            inactive: seen.inactive,
            weight: seen.weight.into(),
            totals: Totals { connections: seen.begun, ..Totals::default() },
        };
        let played = || {
            let behind = self.addresses.iter().zip(seen);
            behind.filter_map(|(address, seen)| Some((*address, reading(seen.as_ref()?)))).collect()
        };
        let mut news = false;
        for due in planner.due_samples(now, usize::MAX) {
            let read = |server| Some(if server == self.server { played() } else { BTreeMap::new() });
            news |= planner.sample(due, now, read).news;
        }
        news
    }
}

impl Planned {
    fn plan(&mut self, place: usize, now: u64) -> Result<Arrangement, String> {
        let Node { planner, .. } = &mut self.nodes[place];
        planner.update(now);
        let mut notes = self.notes.borrow_mut();
        for failure in planner.reports().iter().filter(|report| report.reason == Reason::PolicyFailed) {
            notes.failed = true;
            notes.say(failure.to_string());
        }
        let mut servers = planner.desired().servers_of(&self.target.service);
        let Some((_, want)) = servers.find(|(server, _)| *server == self.target.server) else {
            return Err(format!(
                "the policy does not serve {}, so there is nothing to simulate",
                self.target.server
            ));
        };
        let server = &want.server;
        if server.scheduling.persistence.is_some() {
            notes.say(format!("{}: {AFFINITY}", self.target.server));
        }
        let weight =
            |address: &SocketAddr| server.real_servers.get(&RealServer(*address)).map(|weight| weight.0);
        let weights = self.target.addresses.iter().map(weight).collect();
        Ok(Arrangement { scheduling: server.scheduling.clone(), weights })
    }
}

impl Weights for Planned {
    fn arrange(&mut self, node: usize, now: Duration, seen: &[Option<Seen>]) -> Result<Arrangement, String> {
        let place = node.min(self.nodes.len() - 1);
        let Node { planner, arrangement } = &mut self.nodes[place];
        let now = Duration::from_secs(START) + now;
        let news = self.target.sample(planner, now, seen);
        let expired = planner.next_expiry().is_some_and(|at| at <= now.as_secs());
        if let Some(arrangement) = arrangement.as_ref().filter(|_| !news && !expired) {
            return Ok(arrangement.clone());
        }
        let arrangement = self.plan(place, now.as_secs())?;
        Ok(self.nodes[place].arrangement.insert(arrangement).clone())
    }

    fn period(&self) -> Option<Duration> {
        let expires = self.nodes.iter().any(|node| node.planner.next_expiry().is_some());
        self.period.into_iter().chain(expires.then_some(PERIOD)).min()
    }
}

#[cfg(test)]
mod tests;
