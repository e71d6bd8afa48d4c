//! Clamps decisions, so that no policy answer can break a plan: the result always fits the service, the kernel's
//! capabilities and the ranges of the kernel's fields. Clamping is idempotent.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::decision::{
    Decision, Drain, Handling, Masquerade, PortDecision, RefusedVip, SourceAction, SourceFilter, Treatment,
    VipFilter, VipKind,
};
use crate::net::{Family, Protocol};
use crate::node::NodeView;
use crate::plan::detector;
use crate::report::{Reason, Report};
use crate::state::{Persistence, SchedulerFlags, Scheduling, Weight};
use crate::text::{abridged, counted};
use crate::view::{PortView, ServiceView};

/// The maximum length of a scheduler name (`IP_VS_SCHEDNAME_MAXLEN` is 16 with the terminating zero,
/// `include/uapi/linux/ip_vs.h`).
const SCHEDULER_BYTES: usize = 15;

/// The maximum persistence timeout, one day: the API's limit for `timeoutSeconds`, which also keeps the kernel's
/// multiplication by its tick rate in range.
const PERSISTENCE_SECONDS: u32 = 86_400;

/// The maximum number of networks in a list: each becomes one entry per VIP and port.
const NETWORKS: usize = 256;

/// The maximum number of source filters per service.
const SOURCE_FILTERS: usize = 16;

/// The maximum drain deadline.
const LONGEST_DRAIN: Duration = Duration::from_secs(86_400);

/// The maximum length of a policy's text that is shown, in bytes.
const REASON: usize = 256;

/// The maximum length of an invalid name that is shown, in bytes.
const NAME: usize = 40;

/// Clamps the decision for a service, and reports each change.
pub fn clamp(view: &ServiceView, decision: Decision, node: &NodeView) -> (Decision, Vec<Report>) {
    let mut clamp = Clamp { view, node, reports: Vec::new() };
    let decision = clamp.decision(decision);
    (decision, clamp.reports)
}

struct Clamp<'a> {
    view: &'a ServiceView,
    node: &'a NodeView,
    reports: Vec<Report>,
}

impl Clamp<'_> {
    fn report(&mut self, reason: Reason, message: String) {
        self.reports.push(Report { service: self.view.service.name.clone(), reason, message });
    }

    fn clamped(&mut self, message: String) {
        self.report(Reason::DecisionClamped, message);
    }

    fn decision(&mut self, mut decision: Decision) -> Decision {
        let name = &self.view.service.name;
        if name.namespace == "default" && name.name == "kubernetes" {
            decision = self.protect(decision);
        }
        if let Handling::Ignore(why) = &mut decision.handling {
            *why = abridged(why, REASON);
            let why = why.clone();
            self.report(Reason::ServiceIgnored, why);
        }
        self.vips(&mut decision.vips);
        self.sources(&mut decision.sources);
        self.masquerade(&mut decision.masquerade);
        if let Drain::UntilDeadline(time) = &mut decision.drain
            && *time > LONGEST_DRAIN
        {
            self.clamped(format!(
                "a drain deadline of {} s is too long; using {} s",
                time.as_secs(),
                LONGEST_DRAIN.as_secs()
            ));
            *time = LONGEST_DRAIN;
        }
        if decision.ports.len() != self.view.ports.len() {
            self.clamped(format!(
                "a policy's answer covers {}, but the service has {}; using the built-in decision",
                counted(decision.ports.len(), "port"),
                self.view.ports.len()
            ));
            decision.ports = Decision::upstream(self.view, self.node).ports;
        }
        let view = self.view;
        decision.ports =
            view.ports.iter().zip(decision.ports).map(|(port, decided)| self.port(port, decided)).collect();
        decision
    }

    /// Lets policies decide only the scheduling of the API server's own service: without it, the node's agents
    /// lose the API server, and the policy could not be repaired.
    fn protect(&mut self, decision: Decision) -> Decision {
        let mut kept = Decision::upstream(self.view, self.node);
        let mut ports = decision.ports.clone();
        ports.iter_mut().for_each(|port| port.dropped.clear());
        kept.ports = ports;
        if kept != decision {
            self.clamped(match &decision.handling {
                Handling::Ignore(why) => format!(
                    "weir always handles the API server's own service, although a policy decided to ignore it: {}",
                    abridged(why, REASON)
                ),
                Handling::Handle => "policies may change only the scheduling of the API server's own service; other \
                                     changes by a policy are not applied"
                    .to_owned(),
            });
        }
        kept
    }

    fn vips(&mut self, vips: &mut VipFilter) {
        let (view, node) = (self.view, self.node);
        let is_there = |refused: &RefusedVip| {
            view.ports.iter().any(|port| match refused.kind {
                VipKind::Cluster => port.cluster_ip == refused.address,
                VipKind::External => port.external_ips.contains(&refused.address),
                VipKind::LoadBalancer => port.load_balancer_ips.contains(&refused.address),
                VipKind::NodePort => {
                    port.port.node_port.is_some()
                        && node.node_port_ips(port.family).contains(&refused.address)
                }
            })
        };
        vips.refused.retain(is_there);
        vips.refused.sort_by_key(|refused| (refused.kind, refused.address));
        vips.refused.dedup_by_key(|refused| (refused.kind, refused.address));
        for refused in &mut vips.refused {
            refused.reason = abridged(&refused.reason, REASON);
            let RefusedVip { kind, address, reason } = refused;
            let message = format!("{kind} VIP {address} is not served: {reason}");
            self.reports.push(Report {
                service: view.service.name.clone(),
                reason: Reason::VipRefused,
                message,
            });
        }
        if let Some(networks) = &mut vips.node_port_networks {
            self.networks(
                "networks for node ports",
                "node ports are not served in the other networks",
                networks,
            );
        }
    }

    fn sources(&mut self, filters: &mut Vec<SourceFilter>) {
        if filters.len() > SOURCE_FILTERS {
            let (count, most) = (filters.len(), SOURCE_FILTERS);
            self.clamped(format!("a policy gave {count} source filters; only the first {most} are used"));
            filters.truncate(SOURCE_FILTERS);
        }
        for filter in filters {
            let (what, without) = match filter.action {
                SourceAction::Allow => ("allowed networks", "sources in the other networks may not connect"),
                SourceAction::Deny => ("denied networks", "sources in the other networks may connect"),
            };
            self.networks(what, without, &mut filter.ranges);
        }
    }

    /// Clears host bits and limits the length of a list. A list that is too long is aggregated before any of it is
    /// dropped.
    fn networks(&mut self, what: &str, without: &str, networks: &mut Vec<IpNet>) {
        networks.iter_mut().for_each(|net| *net = net.trunc());
        networks.sort();
        networks.dedup();
        if networks.len() > NETWORKS {
            *networks = IpNet::aggregate(networks);
        }
        if networks.len() > NETWORKS {
            let count = networks.len();
            self.clamped(format!(
                "a policy gave {count} {what}; only the first {NETWORKS} are used, and {without}"
            ));
            networks.truncate(NETWORKS);
        }
    }

    fn masquerade(&mut self, masquerade: &mut Masquerade) {
        self.networks(
            "networks to exempt from masquerading",
            "sources in the other networks are not exempt",
            &mut masquerade.except,
        );
        for kind in VipKind::ALL {
            let treatment = masquerade.treatments.get_mut(kind);
            if *treatment == Treatment::Default {
                continue;
            }
            let families = self.families(kind);
            if families.is_empty() {
                // A policy may decide the same for all services; VIPs that a service does not have need no report.
                *treatment = Treatment::Default;
                continue;
            }
            let undetected: Vec<String> = families
                .iter()
                .filter(|family| detector(self.node, **family).is_none())
                .map(Family::to_string)
                .collect();
            match *treatment {
                Treatment::Address(address) if !self.is_own(address) => {
                    *treatment = Treatment::Default;
                    self.clamped(format!(
                        "{kind} VIPs: the source address cannot be {address}, because other machines cannot reach this \
                         node at that address; the policy is not applied"
                    ));
                }
                Treatment::Address(address) => {
                    let others = families.iter().filter(|family| **family != Family::of(address));
                    for family in others {
                        self.clamped(format!(
                            "{kind} VIPs ({family}): the source address cannot be {address}, which belongs to the other family; \
                             the policy is not applied"
                        ));
                    }
                }
                Treatment::OffCluster if !undetected.is_empty() => {
                    // The treatment stays for a family with known pod networks; the planner ignores it in the
                    // other family.
                    if undetected.len() == families.len() {
                        *treatment = Treatment::Default;
                    }
                    self.clamped(format!(
                        "{kind} VIPs ({}): sources outside the cluster cannot be recognized, so the policy is not applied; \
                         set clusterCIDR or another detectLocalMode",
                        undetected.join(", ")
                    ));
                }
                _ => {}
            }
        }
    }

    /// The families in which the service has VIPs of a kind.
    fn families(&self, kind: VipKind) -> BTreeSet<Family> {
        let has = |port: &&PortView| match kind {
            VipKind::Cluster => true,
            VipKind::External => !port.external_ips.is_empty(),
            VipKind::LoadBalancer => !port.load_balancer_ips.is_empty(),
            VipKind::NodePort => port.port.node_port.is_some(),
        };
        self.view.ports.iter().filter(has).map(|port| port.family).collect()
    }

    /// Whether replies that other machines send to an address reach this node.
    fn is_own(&self, address: IpAddr) -> bool {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        self.node.is_host_address(address)
            && !(address.is_loopback() || address.is_unspecified() || link_local)
    }

    fn port(&mut self, port: &PortView, decided: PortDecision) -> PortDecision {
        let built_in = PortDecision::upstream(self.view, port, self.node);
        let dropped = self.dropped(port, decided.dropped);
        let weights = self.weights(port, decided.weights, built_in.weights, &dropped);
        let scheduling = self.scheduling(port, decided.scheduling, built_in.scheduling);
        let (scheduling, weights) = self.heed_weights(port, scheduling, weights, &dropped);
        PortDecision { scheduling, weights, dropped }
    }

    fn dropped(&mut self, port: &PortView, mut dropped: BTreeSet<usize>) -> BTreeSet<usize> {
        dropped.retain(|index| *index < port.endpoints.len());
        let none_left = |chosen: &[usize]| !chosen.is_empty() && chosen.iter().all(|i| dropped.contains(i));
        if none_left(&port.selection.internal) || none_left(&port.selection.external) {
            self.clamped(format!(
                "{}: a policy dropped every endpoint that a VIP uses, so no endpoint is dropped; to serve nothing, \
                 let the policy ignore the service",
                Place(port)
            ));
            dropped.clear();
        }
        dropped
    }

    /// Different weights need a scheduler that uses them. `rr`, `lc` and `dh` only check whether a weight is 0; `nq`
    /// and others use the weight (`net/netfilter/ipvs/ip_vs_rr.c`, `_lc.c`, `_dh.c`, `_nq.c`).
    fn heed_weights(
        &mut self,
        port: &PortView,
        mut scheduling: Scheduling,
        weights: Vec<Weight>,
        dropped: &BTreeSet<usize>,
    ) -> (Scheduling, Vec<Weight>) {
        let kept = weights.iter().enumerate().filter(|(index, _)| !dropped.contains(index));
        let mut shares: Vec<Weight> =
            kept.map(|(_, weight)| *weight).filter(|w| *w != Weight::QUIESCED).collect();
        shares.sort();
        shares.dedup();
        if shares.len() < 2 {
            return (scheduling, weights);
        }
        let heeding = match scheduling.scheduler.as_str() {
            "rr" => Some("wrr"),
            "lc" => Some("wlc"),
            "dh" => None,
            _ => return (scheduling, weights),
        };
        let place = Place(port);
        match heeding.filter(|name| self.knows(name)) {
            Some(name) => {
                self.clamped(format!(
                    "{place}: the scheduler `{}` ignores weights; using `{name}`",
                    scheduling.scheduler
                ));
                scheduling.scheduler = name.to_owned();
                (scheduling, weights)
            }
            None => {
                self.clamped(format!(
                    "{place}: the scheduler `{}` ignores weights; every weight except 0 counts as {}",
                    scheduling.scheduler,
                    Weight::DEFAULT.0
                ));
                let equal = |weight| if weight == Weight::QUIESCED { weight } else { Weight::DEFAULT };
                (scheduling, weights.into_iter().map(equal).collect())
            }
        }
    }

    fn scheduling(&mut self, port: &PortView, decided: Scheduling, built_in: Scheduling) -> Scheduling {
        let place = Place(port);
        let Scheduling { mut scheduler, mut flags, persistence } = decided;
        if scheduler != built_in.scheduler && !self.knows(&scheduler) {
            let instead = &built_in.scheduler;
            self.clamped(if is_scheduler_name(&scheduler) {
                format!(
                    "{place}: the kernel has no scheduler `{scheduler}` (try `modprobe ip_vs_{scheduler}`); \
                     using `{instead}`"
                )
            } else {
                // No command to paste into a shell here: the name could be harmful.
                format!(
                    "{place}: \"{}\" is not a valid scheduler name; using `{instead}`",
                    abridged(&scheduler, NAME)
                )
            });
            scheduler = built_in.scheduler;
            flags = built_in.flags;
        }
        if !SchedulerFlags::ALL.contains(flags) {
            let allowed = SchedulerFlags(flags.0 & SchedulerFlags::ALL.0);
            self.report(
                Reason::DecisionClamped,
                format!(
                    "{place}: the scheduler flags {:#x} contain unknown flags; using {:#x}",
                    flags.0, allowed.0
                ),
            );
            flags = allowed;
        }
        flags = self.fitting_flags(port, &scheduler, flags);
        let persistence = persistence.map(|wanted| {
            let clamped = Persistence {
                timeout: wanted.timeout.clamp(1, PERSISTENCE_SECONDS),
                prefix: wanted.prefix.clamp(1, port.family.full_prefix()),
            };
            // The object itself may have any timeout that the API accepted, so only a policy's is reported.
            if clamped != wanted && built_in.persistence != Some(wanted) {
                self.report(
                    Reason::DecisionClamped,
                    format!(
                        "{place}: persistence of {} s with prefix length {} is out of range; using {} s and prefix \
                         length {}",
                        wanted.timeout, wanted.prefix, clamped.timeout, clamped.prefix
                    ),
                );
            }
            clamped
        });
        Scheduling { scheduler, flags, persistence }
    }

    /// The flags that have a meaning for this scheduler and protocol; the kernel silently accepts others.
    fn fitting_flags(&mut self, port: &PortView, scheduler: &str, flags: SchedulerFlags) -> SchedulerFlags {
        let place = Place(port);
        let mut fitting = flags;
        if fitting.0 & SchedulerFlags::HASHING.0 != 0 && !matches!(scheduler, "sh" | "mh") {
            self.clamped(format!(
                "{place}: the flags fallback and port apply only to the schedulers sh and mh, not to \
                 `{scheduler}`; ignoring these flags"
            ));
            fitting = SchedulerFlags(fitting.0 & !SchedulerFlags::HASHING.0);
        }
        if fitting.contains(SchedulerFlags::ONE_PACKET) {
            if port.port.protocol == Protocol::Udp {
                self.report(
                    Reason::OnePacket,
                    format!(
                        "{place}: with one-packet scheduling, replies keep the endpoint's address; use it only for traffic \
                         without replies"
                    ),
                );
            } else {
                self.clamped(format!(
                    "{place}: one-packet scheduling applies only to UDP; ignoring this flag"
                ));
                fitting = SchedulerFlags(fitting.0 & !SchedulerFlags::ONE_PACKET.0);
            }
        }
        fitting
    }

    fn knows(&self, scheduler: &str) -> bool {
        let there = match &self.node.capabilities.schedulers {
            Some(known) => known.iter().any(|name| name == scheduler),
            None => true,
        };
        is_scheduler_name(scheduler) && there
    }

    fn weights(
        &mut self,
        port: &PortView,
        decided: Vec<Weight>,
        built_in: Vec<Weight>,
        dropped: &BTreeSet<usize>,
    ) -> Vec<Weight> {
        let place = Place(port);
        if decided.len() != built_in.len() {
            self.report(
                Reason::DecisionClamped,
                format!(
                    "{place}: a policy gave {} for {}; using weight {} for all endpoints",
                    counted(decided.len(), "weight"),
                    counted(built_in.len(), "endpoint"),
                    Weight::DEFAULT.0
                ),
            );
            return built_in;
        }
        let silent = |chosen: &[usize]| {
            let mut used = chosen.iter().filter(|i| !dropped.contains(i)).peekable();
            used.peek().is_some() && used.all(|i| decided[*i] == Weight::QUIESCED)
        };
        if silent(&port.selection.internal) || silent(&port.selection.external) {
            self.report(
                Reason::DecisionClamped,
                format!(
                    "{place}: every endpoint that a VIP uses has weight 0, so no endpoint would answer; using \
                     weight {} for all endpoints",
                    Weight::DEFAULT.0
                ),
            );
            return built_in;
        }
        decided
    }
}

/// Whether a kernel could have a scheduler of this name.
fn is_scheduler_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=SCHEDULER_BYTES).contains(&text.len()) && text.bytes().all(fits)
}

/// A port, in words.
struct Place<'a>(&'a PortView);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortView { port, family, .. } = self.0;
        write!(f, "port {}/{} ({family})", port.port, port.protocol)
    }
}

#[cfg(test)]
mod tests;
