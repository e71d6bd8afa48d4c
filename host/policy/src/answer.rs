//! What plugins answered for a service, checked for form, put together in the order of the chain, and turned into a
//! decision. Whether a decision is wise is for weir-core's guard; here it must only be one.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use weir_core::decision::{
    Decision, Drain, Handling, Masquerade, PortDecision, RefusedVip, SourceAction, SourceFilter, Treatment,
    VipKind,
};
use weir_core::net::overlap;
use weir_core::node::NodeView;
use weir_core::objects::ServicePort;
use weir_core::state::{Persistence, SchedulerFlags, Weight};
use weir_core::text::abridged;
use weir_core::view::{PortView, ServiceView};

use crate::bindings::{filter, masquerade, scheduler, types};
use crate::lower::{ip, kind, kinds, net};

/// The longest reason that is shown, in bytes.
const REASON: usize = 256;

/// An answer of one interface.
pub(crate) trait Answer: Clone + PartialEq {
    /// Whether the answer is one for this service; else what is wrong with it.
    fn check(&self, view: &ServiceView) -> Result<(), String>;
    /// The plugin's reason, fit to be shown.
    fn reason(&self) -> String;
    /// Seconds after which to ask again.
    fn lifetime(&self) -> Option<u32>;
    /// The answer in one line, for people; empty if it changes nothing.
    fn summary(&self, view: &ServiceView) -> String;
    /// What is left of the answer when the service is no longer the one it was about.
    fn fitted(self, view: &ServiceView) -> Option<Self>;
}

fn show(reason: &str) -> String {
    abridged(reason, REASON)
}

fn no_extra(extra: &[(String, String)]) -> Result<(), String> {
    match extra.first() {
        None => Ok(()),
        Some((key, _)) => Err(format!(
            "it holds `{}`, which this version of weir does not know; use a newer weir or an older plugin",
            show(key)
        )),
    }
}

fn networks(list: &[types::Network]) -> Result<Vec<IpNet>, String> {
    list.iter()
        .map(|network| {
            net(*network)
                .ok_or_else(|| format!("{}/{} is no network", ip(network.address), network.prefix_length))
        })
        .collect()
}

impl Answer for filter::Verdict {
    fn check(&self, view: &ServiceView) -> Result<(), String> {
        no_extra(&self.extra)?;
        networks(self.node_port_networks.as_deref().unwrap_or_default())?;
        for (port, endpoint) in &self.dropped_endpoints {
            let count = view.ports.get(*port as usize).map_or(0, |port| port.endpoints.len());
            if *endpoint as usize >= count {
                return Err(format!("it drops endpoint {endpoint} of port {port}, which has {count}"));
            }
        }
        for source in &self.sources {
            no_extra(&source.extra)?;
            action(&source.action)?;
            networks(&source.ranges)?;
        }
        Ok(())
    }

    fn reason(&self) -> String {
        show(self.ignore.as_deref().filter(|_| self.reason.is_empty()).unwrap_or(&self.reason))
    }

    fn lifetime(&self) -> Option<u32> {
        self.re_evaluate_after
    }

    fn summary(&self, _: &ServiceView) -> String {
        let mut parts = Vec::new();
        if self.ignore.is_some() {
            parts.push("ignore the service".to_owned());
        }
        if let Some(only) = self.kinds {
            let names: Vec<String> = kinds(only).iter().map(ToString::to_string).collect();
            parts.push(if names.is_empty() {
                "no VIPs".to_owned()
            } else {
                format!("only {} VIPs", names.join(", "))
            });
        }
        for refusal in &self.refusals {
            parts.push(format!("refuse {} {}", kind(refusal.vip.kind), ip(refusal.vip.address)));
        }
        if let Some(nets) = &self.node_port_networks {
            parts.push(format!("node ports in {}", names(nets)));
        }
        if !self.dropped_endpoints.is_empty() {
            parts.push(format!("drop {} endpoints", self.dropped_endpoints.len()));
        }
        for source in &self.sources {
            parts.push(format!("{} {}", show(&source.action), names(&source.ranges)));
        }
        parts.join("; ")
    }

    fn fitted(mut self, view: &ServiceView) -> Option<Self> {
        // Indexes of endpoints that are other endpoints now.
        self.dropped_endpoints.clear();
        self.check(view).is_ok().then_some(self)
    }
}

fn names(nets: &[types::Network]) -> String {
    let names: Vec<String> =
        nets.iter().take(8).map(|net| format!("{}/{}", ip(net.address), net.prefix_length)).collect();
    let more = if nets.len() > 8 { format!(" and {} more", nets.len() - 8) } else { String::new() };
    format!("{}{more}", names.join(","))
}

fn action(text: &str) -> Result<SourceAction, String> {
    match text {
        "allow" => Ok(SourceAction::Allow),
        "deny" => Ok(SourceAction::Deny),
        other => Err(format!("`{}` is neither `allow` nor `deny`", show(other))),
    }
}

impl Answer for scheduler::Schedule {
    fn check(&self, view: &ServiceView) -> Result<(), String> {
        no_extra(&self.extra)?;
        self.drain.as_ref().map(drain).transpose()?;
        if !self.ports.is_empty() && self.ports.len() != view.ports.len() {
            return Err(format!("it has {} ports, the service {}", self.ports.len(), view.ports.len()));
        }
        for (port, scheduling) in view.ports.iter().zip(&self.ports) {
            no_extra(&scheduling.extra)?;
            scheduling.scheduler_flags.as_deref().map(flags).transpose()?;
            if let scheduler::Weights::Each(weights) = &scheduling.weights
                && weights.len() != port.endpoints.len()
            {
                let (port, endpoints) = (port.port.port, port.endpoints.len());
                return Err(format!(
                    "it has {} weights for {endpoints} endpoints of port {port}",
                    weights.len()
                ));
            }
            if scheduling.persistence_group.is_some() {
                return Err("persistence groups are reserved for a later version of weir".to_owned());
            }
        }
        Ok(())
    }

    fn reason(&self) -> String {
        show(&self.reason)
    }

    fn lifetime(&self) -> Option<u32> {
        self.re_evaluate_after
    }

    fn summary(&self, view: &ServiceView) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (said, port) in self.ports.iter().map(port_summary).zip(&view.ports) {
            if !said.is_empty() {
                parts.push(format!("{}: {}", port_name(port, view), said.join(", ")));
            }
        }
        if let Some(drain) = &self.drain {
            let deadline = drain.deadline.map(|seconds| format!(" of {seconds} s")).unwrap_or_default();
            parts.push(format!("drain {}{deadline}", show(&drain.mode)));
        }
        parts.join("; ")
    }

    fn fitted(mut self, view: &ServiceView) -> Option<Self> {
        for port in &mut self.ports {
            port.weights = scheduler::Weights::Keep;
        }
        self.check(view).is_ok().then_some(self)
    }
}

/// A port as people call it: `port http 80/tcp`, with its family where there is one of each.
fn port_name(port: &PortView, view: &ServiceView) -> String {
    let ServicePort { name, port: number, protocol, .. } = &port.port;
    let both = view.ports.iter().any(|other| other.family != port.family && other.port == port.port);
    let family = if both { format!(" ({})", port.family) } else { String::new() };
    let space = if name.is_empty() { "" } else { " " };
    format!("port {name}{space}{number}/{protocol}{family}")
}

fn port_summary(port: &scheduler::Scheduling) -> Vec<String> {
    let mut said = Vec::new();
    said.extend(port.scheduler.as_deref().map(|name| format!("scheduler {}", show(name))));
    said.extend(port.scheduler_flags.as_ref().map(|flags| format!("flags [{}]", show(&flags.join(" ")))));
    match port.persistence {
        scheduler::Persistence::Keep => {}
        scheduler::Persistence::SessionAffinity => said.push("persistence as session affinity".to_owned()),
        scheduler::Persistence::Off => said.push("no persistence".to_owned()),
        scheduler::Persistence::On((seconds, prefix)) => {
            said.push(format!("persistence {seconds} s /{prefix}"))
        }
    }
    match &port.weights {
        scheduler::Weights::Keep => {}
        scheduler::Weights::Equal => said.push("equal weights".to_owned()),
        // Of no endpoints.
        scheduler::Weights::Each(weights) if weights.is_empty() => {}
        scheduler::Weights::Each(weights) => {
            let shown: Vec<String> = weights.iter().take(16).map(ToString::to_string).collect();
            let more = if weights.len() > 16 { " …" } else { "" };
            said.push(format!("weights {}{more}", shown.join(" ")));
        }
    }
    said
}

fn flags(words: &[String]) -> Result<SchedulerFlags, String> {
    words.iter().try_fold(SchedulerFlags::default(), |flags, word| {
        let flag = match word.as_str() {
            "fallback" => SchedulerFlags::FALLBACK,
            "port" => SchedulerFlags::PORT,
            "one-packet" => SchedulerFlags::ONE_PACKET,
            other => {
                return Err(format!("`{}` is none of the flags fallback, port, one-packet", show(other)));
            }
        };
        Ok(SchedulerFlags(flags.0 | flag.0))
    })
}

fn drain(drain: &scheduler::Drain) -> Result<Drain, String> {
    match (drain.mode.as_str(), drain.deadline) {
        ("until-idle", None) => Ok(Drain::UntilIdle),
        ("until-deadline", Some(seconds)) => Ok(Drain::UntilDeadline(Duration::from_secs(seconds.into()))),
        ("at-once", None) => Ok(Drain::AtOnce),
        ("until-deadline", None) => Err("the drain mode until-deadline lacks a deadline".to_owned()),
        ("until-idle" | "at-once", Some(_)) => Err(format!("the drain mode {} has no deadline", drain.mode)),
        (other, _) => {
            Err(format!("`{}` is none of the drain modes until-idle, until-deadline, at-once", show(other)))
        }
    }
}

impl Answer for masquerade::Treatments {
    fn check(&self, _: &ServiceView) -> Result<(), String> {
        no_extra(&self.extra)?;
        for (_, asked) in self.by_kind() {
            asked.map(treatment).transpose()?;
        }
        networks(self.except_sources.as_deref().unwrap_or_default()).map(drop)
    }

    fn reason(&self) -> String {
        show(&self.reason)
    }

    fn lifetime(&self) -> Option<u32> {
        self.re_evaluate_after
    }

    fn summary(&self, _: &ServiceView) -> String {
        let mut parts = Vec::new();
        for (kind, asked) in self.by_kind() {
            if let Some(asked) = asked {
                let source = asked.source.map(|source| format!(" {}", ip(source))).unwrap_or_default();
                parts.push(format!("{kind} {}{source}", show(&asked.mode)));
            }
        }
        if let Some(except) = &self.except_sources {
            parts.push(format!("except {}", names(except)));
        }
        parts.join("; ")
    }

    fn fitted(self, view: &ServiceView) -> Option<Self> {
        self.check(view).is_ok().then_some(self)
    }
}

impl masquerade::Treatments {
    fn by_kind(&self) -> [(VipKind, Option<&masquerade::Treatment>); 4] {
        [
            (VipKind::Cluster, self.cluster.as_ref()),
            (VipKind::External, self.external.as_ref()),
            (VipKind::LoadBalancer, self.load_balancer.as_ref()),
            (VipKind::NodePort, self.node_port.as_ref()),
        ]
    }
}

fn treatment(asked: &masquerade::Treatment) -> Result<Treatment, String> {
    let plain = match asked.mode.as_str() {
        "default" => Treatment::Default,
        "never" | "hairpin" => Treatment::Never,
        "always" => Treatment::Always,
        "off-cluster" => Treatment::OffCluster,
        "remote-endpoints" => Treatment::RemoteEndpoints,
        "address" => {
            return match asked.source {
                Some(source) => Ok(Treatment::Address(ip(source))),
                None => Err("the masquerade mode address lacks a source".to_owned()),
            };
        }
        other => {
            return Err(format!(
                "`{}` is none of the masquerade modes default, never, always, off-cluster, remote-endpoints, \
                 hairpin, address",
                show(other)
            ));
        }
    };
    match asked.source {
        None => Ok(plain),
        Some(_) => Err(format!("the masquerade mode {} has no source", asked.mode)),
    }
}

/// What the plugins asked so far say of a service.
#[derive(Clone, Debug)]
pub(crate) struct Opinion {
    pub(crate) verdicts: Vec<filter::Verdict>,
    pub(crate) schedule: scheduler::Schedule,
    pub(crate) treatments: masquerade::Treatments,
    /// Why the service is left alone although no plugin said so.
    pub(crate) skipped: Option<String>,
}

impl Default for Opinion {
    fn default() -> Opinion {
        Opinion {
            verdicts: Vec::new(),
            schedule: keep_schedule(),
            treatments: keep_treatments(),
            skipped: None,
        }
    }
}

fn keep_schedule() -> scheduler::Schedule {
    scheduler::Schedule {
        ports: Vec::new(),
        drain: None,
        reason: String::new(),
        re_evaluate_after: None,
        extra: Vec::new(),
    }
}

fn keep_treatments() -> masquerade::Treatments {
    masquerade::Treatments {
        cluster: None,
        external: None,
        load_balancer: None,
        node_port: None,
        except_sources: None,
        reason: String::new(),
        re_evaluate_after: None,
        extra: Vec::new(),
    }
}

impl Opinion {
    /// Whether the service is left alone, so that nobody need be asked about the rest.
    pub(crate) fn ignores(&self) -> bool {
        self.skipped.is_some() || self.verdicts.iter().any(|verdict| verdict.ignore.is_some())
    }

    /// A later plugin's schedule over what earlier ones said.
    pub(crate) fn add_schedule(&mut self, answer: scheduler::Schedule) {
        let prior = &mut self.schedule;
        prior.drain = answer.drain.or(prior.drain.take());
        if prior.ports.is_empty() {
            prior.ports = answer.ports;
            return;
        }
        for (prior, answer) in prior.ports.iter_mut().zip(answer.ports) {
            prior.scheduler = answer.scheduler.or(prior.scheduler.take());
            prior.scheduler_flags = answer.scheduler_flags.or(prior.scheduler_flags.take());
            if !matches!(answer.persistence, scheduler::Persistence::Keep) {
                prior.persistence = answer.persistence;
            }
            if !matches!(answer.weights, scheduler::Weights::Keep) {
                prior.weights = answer.weights;
            }
        }
    }

    /// A later plugin's treatments over what earlier ones said.
    pub(crate) fn add_treatments(&mut self, answer: masquerade::Treatments) {
        let prior = &mut self.treatments;
        prior.cluster = answer.cluster.or(prior.cluster.take());
        prior.external = answer.external.or(prior.external.take());
        prior.load_balancer = answer.load_balancer.or(prior.load_balancer.take());
        prior.node_port = answer.node_port.or(prior.node_port.take());
        prior.except_sources = answer.except_sources.or(prior.except_sources.take());
    }

    /// The decision. Every part was checked when it was answered, so that nothing is lost here.
    pub(crate) fn decision(&self, view: &ServiceView, node: &NodeView) -> Decision {
        let mut decision = Decision::upstream(view, node);
        if let Some(reason) = &self.skipped {
            decision.handling = Handling::Ignore(reason.clone());
        }
        for verdict in &self.verdicts {
            restrict(&mut decision, verdict);
        }
        if let Some(asked) = self.schedule.drain.as_ref().and_then(|asked| drain(asked).ok()) {
            decision.drain = asked;
        }
        for (asked, decided) in self.schedule.ports.iter().zip(&mut decision.ports) {
            schedule_port(decided, asked);
        }
        decision.masquerade = self.masquerade();
        decision
    }

    fn masquerade(&self) -> Masquerade {
        let mut masquerade = Masquerade::default();
        for (kind, asked) in self.treatments.by_kind() {
            if let Some(asked) = asked.and_then(|asked| treatment(asked).ok()) {
                *masquerade.treatments.get_mut(kind) = asked;
            }
        }
        masquerade.except =
            networks(self.treatments.except_sources.as_deref().unwrap_or_default()).unwrap_or_default();
        masquerade
    }
}

/// Adds what a filter leaves out. Nothing is ever added back.
fn restrict(decision: &mut Decision, verdict: &filter::Verdict) {
    if let (Some(reason), Handling::Handle) = (&verdict.ignore, &decision.handling) {
        decision.handling = Handling::Ignore(show(reason));
    }
    if let Some(only) = verdict.kinds {
        let only: BTreeSet<VipKind> = kinds(only);
        decision.vips.kinds.retain(|kind| only.contains(kind));
    }
    decision.vips.refused.extend(verdict.refusals.iter().map(|refusal| RefusedVip {
        kind: kind(refusal.vip.kind),
        address: ip(refusal.vip.address),
        reason: show(&refusal.reason),
    }));
    if let Some(only) = &verdict.node_port_networks {
        let only = networks(only).unwrap_or_default();
        decision.vips.node_port_networks = Some(match decision.vips.node_port_networks.take() {
            None => only,
            Some(earlier) => overlap(&earlier, &only),
        });
    }
    for (port, endpoint) in &verdict.dropped_endpoints {
        if let Some(port) = decision.ports.get_mut(*port as usize) {
            port.dropped.insert(*endpoint as usize);
        }
    }
    decision.sources.extend(verdict.sources.iter().filter_map(|source| {
        Some(SourceFilter {
            kinds: kinds(source.kinds),
            action: action(&source.action).ok()?,
            ranges: networks(&source.ranges).ok()?,
        })
    }));
}

/// Changes what a policy asked for in the built-in decision about a port.
fn schedule_port(decided: &mut PortDecision, asked: &scheduler::Scheduling) {
    if let Some(name) = asked.scheduler.as_deref().filter(|name| *name != "default") {
        decided.scheduling.scheduler = name.to_owned();
        // As kube-proxy would set them if the scheduler were the configured one.
        decided.scheduling.flags =
            if name == "mh" { SchedulerFlags::PORT } else { SchedulerFlags::default() };
    }
    if let Some(asked) = asked.scheduler_flags.as_deref().and_then(|words| flags(words).ok()) {
        decided.scheduling.flags = asked;
    }
    match asked.persistence {
        // The built-in decision is that of the session affinity.
        scheduler::Persistence::Keep | scheduler::Persistence::SessionAffinity => {}
        scheduler::Persistence::Off => decided.scheduling.persistence = None,
        scheduler::Persistence::On((timeout, prefix)) => {
            decided.scheduling.persistence = Some(Persistence { timeout, prefix });
        }
    }
    if let scheduler::Weights::Each(weights) = &asked.weights {
        decided.weights = weights.iter().map(|weight| Weight(*weight)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_no_endpoints_are_not_told() {
        let told = |weights| {
            port_summary(&scheduler::Scheduling {
                scheduler: None,
                scheduler_flags: None,
                persistence: scheduler::Persistence::Keep,
                weights: scheduler::Weights::Each(weights),
                persistence_group: None,
                extra: Vec::new(),
            })
        };
        assert!(told(Vec::new()).is_empty());
        assert_eq!(told(vec![3, 1]), ["weights 3 1"]);
    }
}
