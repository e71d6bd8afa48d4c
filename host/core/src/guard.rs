//! Clamps decisions, so that nothing a policy answers can break a plan: whatever comes in, what goes out fits
//! the service, the kernel's abilities and the ranges of the kernel's fields. Clamping twice is clamping once.

use crate::decision::{Decision, Handling, PortDecision};
use crate::node::NodeView;
use crate::report::{Reason, Report};
use crate::state::{Persistence, SchedulerFlags, Scheduling, Weight};
use crate::view::{PortView, ServiceView};

/// The longest scheduler name (`IP_VS_SCHEDNAME_MAXLEN` is 16 with the closing zero,
/// `include/uapi/linux/ip_vs.h`).
const SCHEDULER_BYTES: usize = 15;

/// The longest persistence timeout, one day: the API's limit for `timeoutSeconds`, which also keeps the kernel's
/// multiplication by its tick rate in range.
const PERSISTENCE_SECONDS: u32 = 86_400;

/// Clamps the decision for a service and reports each thing that was changed.
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

    fn decision(&mut self, mut decision: Decision) -> Decision {
        if let Handling::Ignore(why) = &decision.handling {
            let name = &self.view.service.name;
            if name.namespace == "default" && name.name == "kubernetes" {
                // Without it the node's own agents lose the API server, and nobody could repair the policy.
                self.report(
                    Reason::DecisionClamped,
                    format!("the API server's own service is always handled, although a policy said: {why}"),
                );
                decision.handling = Handling::Handle;
            } else {
                self.report(Reason::ServiceIgnored, why.clone());
            }
        }
        if decision.ports.len() != self.view.ports.len() {
            self.report(
                Reason::DecisionClamped,
                format!(
                    "a policy decided {} ports where there are {}; the built-in decision is used",
                    decision.ports.len(),
                    self.view.ports.len()
                ),
            );
            decision.ports = Decision::upstream(self.view, self.node).ports;
        }
        let view = self.view;
        decision.ports =
            view.ports.iter().zip(decision.ports).map(|(port, decided)| self.port(port, decided)).collect();
        decision
    }

    fn port(&mut self, port: &PortView, decided: PortDecision) -> PortDecision {
        let built_in = PortDecision::upstream(self.view, port, self.node);
        let scheduling = self.scheduling(port, decided.scheduling, built_in.scheduling);
        let weights = self.weights(port, decided.weights, built_in.weights);
        PortDecision { scheduling, weights, dropped: decided.dropped }
    }

    fn scheduling(&mut self, port: &PortView, decided: Scheduling, built_in: Scheduling) -> Scheduling {
        let place = place(port);
        let Scheduling { mut scheduler, mut flags, persistence } = decided;
        if scheduler != built_in.scheduler && !self.knows(&scheduler) {
            self.report(
                Reason::DecisionClamped,
                format!(
                    "{place}: the kernel has no scheduler `{scheduler}` (try `modprobe ip_vs_{scheduler}`); \
                     `{}` is used",
                    built_in.scheduler
                ),
            );
            scheduler = built_in.scheduler;
            flags = built_in.flags;
        }
        if !SchedulerFlags::ALL.contains(flags) {
            let allowed = SchedulerFlags(flags.0 & SchedulerFlags::ALL.0);
            self.report(
                Reason::DecisionClamped,
                format!("{place}: flags {:#x} are not scheduler flags; {:#x} is used", flags.0, allowed.0),
            );
            flags = allowed;
        }
        let persistence = persistence.map(|wanted| {
            let clamped = Persistence {
                timeout: wanted.timeout.clamp(1, PERSISTENCE_SECONDS),
                prefix: wanted.prefix.clamp(1, port.family.full_prefix()),
            };
            // The object itself may hold any timeout that the API accepted, so only a policy's is reported.
            if clamped != wanted && built_in.persistence != Some(wanted) {
                self.report(
                    Reason::DecisionClamped,
                    format!(
                        "{place}: persistence {}/{} is out of range; {}/{} is used",
                        wanted.timeout, wanted.prefix, clamped.timeout, clamped.prefix
                    ),
                );
            }
            clamped
        });
        Scheduling { scheduler, flags, persistence }
    }

    fn knows(&self, scheduler: &str) -> bool {
        let well_formed = (1..=SCHEDULER_BYTES).contains(&scheduler.len())
            && scheduler.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let there = match &self.node.capabilities.schedulers {
            Some(known) => known.iter().any(|name| name == scheduler),
            None => true,
        };
        well_formed && there
    }

    fn weights(&mut self, port: &PortView, decided: Vec<Weight>, built_in: Vec<Weight>) -> Vec<Weight> {
        let place = place(port);
        if decided.len() != built_in.len() {
            self.report(
                Reason::DecisionClamped,
                format!(
                    "{place}: a policy gave {} weights for {} endpoints; all are {}",
                    decided.len(),
                    built_in.len(),
                    Weight::DEFAULT.0
                ),
            );
            return built_in;
        }
        let silent =
            |chosen: &[usize]| !chosen.is_empty() && chosen.iter().all(|i| decided[*i] == Weight::QUIESCED);
        if silent(&port.selection.internal) || silent(&port.selection.external) {
            self.report(
                Reason::DecisionClamped,
                format!("{place}: every weight is 0, so nothing would answer; all are {}", Weight::DEFAULT.0),
            );
            return built_in;
        }
        decided
    }
}

fn place(port: &PortView) -> String {
    format!("port {}/{} ({})", port.port.port, port.port.protocol, port.family)
}
