//! Policies of the lab that are planned as a node would plan them, at virtual times.

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
use weir_core::report::Reason;
use weir_core::state::{RealServer, VirtualServer};
use weir_lab::traffic::{ClientNodes, ServiceTraffic};
use weir_lab::weights::{Arrangement, Seen, Weights};
use weir_policy::Chain;

use crate::cli::PolicyArguments;
use crate::inputs::{self, Settings};

/// When virtual time begins, in seconds since 1970: 2026-01-01. A fixed moment, so that plugins that look at the time
/// answer the same today and tomorrow.
const START: u64 = 1_767_225_600;
/// How often a policy that asked to be asked again is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// What is said of a virtual server with persistence.
const AFFINITY: &str = "session affinity is not played; each connection is scheduled anew";

/// What is played: the virtual server of a Service's cluster IP, and all endpoints that a client node may reach.
pub(super) struct Target {
    server: VirtualServer,
    /// The endpoints, sorted.
    pub(super) addresses: Vec<SocketAddr>,
}

/// The client nodes, and what they know.
pub(super) struct Laboratory {
    /// By client node that is planned for itself; one for all if they are only counted.
    nodes: Vec<(Settings, Vec<Event>)>,
    /// Chains that were loaded, by policy file and place in `nodes`. Each play gets a fresh copy.
    chains: BTreeMap<(PathBuf, usize), Chain>,
    notes: Rc<RefCell<Notes>>,
}

/// What was said about plugins, each thing once however often it is played.
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
        // The lab plays cluster IPs, which do not depend on addresses of the node.
        inputs::planner_of(objects.clone(), &settings, chain, Vec::new(), Capabilities::assumed())
    }

    /// The virtual server that a service's traffic is for.
    pub(super) fn target(&self, traffic: &ServiceTraffic) -> anyhow::Result<Rc<Target>> {
        let service = &traffic.service;
        let (namespace, name) = service
            .split_once('/')
            .with_context(|| format!("service `{service}` must be written as namespace/name"))?;
        let name = ObjectName::new(namespace, name);
        let mut addresses = BTreeSet::new();
        let mut servers = BTreeSet::new();
        for node in 0..self.nodes.len() {
            let mut planner = self.planner(node, Chain::default(), None);
            let Some(explanation) = planner.explain(&name, START) else {
                let known: Vec<String> = planner.service_names().map(ToString::to_string).collect();
                bail!(
                    "service {name} is not in the manifests, or not handled by this node; the services are: {}",
                    known.join(", ")
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
                Some(port) => bail!("service {name} has no TCP port {port} at a cluster IP"),
                None => bail!("service {name} has no TCP port at a cluster IP"),
            },
            (Some(_), _) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                bail!("service {name} has several TCP ports; set `port` to one of {}", ports.join(", "))
            }
        };
        // A Service of both families has its IPv4 endpoints here.
        addresses.retain(|address| address.is_ipv4() == server.address.is_ipv4());
        if addresses.is_empty() {
            bail!("service {name} has no endpoints that take connections");
        }
        Ok(Rc::new(Target { server, addresses: addresses.into_iter().collect() }))
    }

    /// A policy as planned by weir: the plugins of a file, or the built-in one, with another default scheduler if one is
    /// given.
    pub(super) fn planned(
        &mut self,
        target: &Rc<Target>,
        file: Option<&Path>,
        scheduler: Option<&str>,
    ) -> anyhow::Result<Planned> {
        let mut planners = Vec::new();
        for node in 0..self.nodes.len() {
            let chain = match file {
                Some(file) => self.chain(file, node)?,
                None => Chain::default(),
            };
            planners.push(self.planner(node, chain, scheduler));
        }
        let arrangements = planners.iter().map(|_| None).collect();
        Ok(Planned { target: Rc::clone(target), planners, arrangements, notes: Rc::clone(&self.notes) })
    }

    fn chain(&mut self, file: &Path, node: usize) -> anyhow::Result<Chain> {
        let key = (file.to_owned(), node);
        if let Some(chain) = self.chains.get(&key) {
            return Ok(chain.clone());
        }
        let arguments = PolicyArguments { policy: Some(file.to_owned()), shadow: Vec::new() };
        let plugins = inputs::policy(&arguments, &self.nodes[node].0.node_name)?;
        self.notes.borrow_mut().failed |= !plugins.refused.is_empty();
        self.chains.insert(key, plugins.chain.clone());
        Ok(plugins.chain)
    }

    /// Exit status 1 if a plugin was refused or failed.
    pub(super) fn status(&self) -> ExitCode {
        if self.notes.borrow().failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// A policy that is planned by weir's planner, on each client node.
pub(super) struct Planned {
    target: Rc<Target>,
    planners: Vec<Planner>,
    /// The last plan of each planner.
    arrangements: Vec<Option<Arrangement>>,
    notes: Rc<RefCell<Notes>>,
}

impl Planned {
    fn plan(&mut self, place: usize, now: u64) -> Result<Arrangement, String> {
        let plan = self.planners[place].plan_at(now);
        let failures = plan.reports.iter().filter(|report| report.reason == Reason::PolicyFailed);
        let mut notes = self.notes.borrow_mut();
        for failure in failures {
            notes.failed = true;
            notes.say(failure.to_string());
        }
        let Some(server) = plan.state.virtual_servers.get(&self.target.server) else {
            return Err(format!(
                "the policy does not serve {}, so there is nothing to play",
                self.target.server
            ));
        };
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
    fn arrange(&mut self, node: usize, now: Duration, _seen: &[Option<Seen>]) -> Result<Arrangement, String> {
        let place = node.min(self.planners.len() - 1);
        let now = START + now.as_secs();
        let expired = self.planners[place].next_expiry().is_some_and(|at| at <= now);
        if let Some(arrangement) = self.arrangements[place].as_ref().filter(|_| !expired) {
            return Ok(arrangement.clone());
        }
        let arrangement = self.plan(place, now)?;
        Ok(self.arrangements[place].insert(arrangement).clone())
    }

    fn period(&self) -> Option<Duration> {
        self.planners.iter().any(|planner| planner.next_expiry().is_some()).then_some(PERIOD)
    }
}

#[cfg(test)]
mod tests;
