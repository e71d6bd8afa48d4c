//! Limits what the services of a namespace may use: schedulers, flags, persistence, drains, masquerading, and VIPs.
//!
//! ```text
//! answers of earlier plugins ─▶ limits of the first matching rule ─▶ excess falls back to the default, with a reason
//! VIPs ─▶ outside the rule's networks, or a node's address ─▶ refused, with a reason
//! ```
//!
//! The plugin belongs at the end of the chain, because later plugins are not checked. A field that a rule omits is not
//! limited.
//!
//! The plugin only takes back what earlier plugins requested, and never adds anything.

use std::collections::BTreeSet;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::scope::Scope;
use weir_plugin_sdk::{
    Context, Error, Filter, Masquerade, Plugin, Schedule, Scheduler, Service, Treatments, Verdict, export,
};

mod addresses;
mod masquerading;
mod scheduling;

use addresses::{Addresses, NodeAddresses};
use masquerading::MasqueradeLimits;
use scheduling::ScheduleLimits;

/// The plugin.
#[derive(Debug)]
pub struct NamespaceGuard {
    rules: Vec<Rule>,
    node_addresses: NodeAddresses,
}

/// The limits for some services.
#[derive(Debug)]
struct Rule {
    scope: Scope,
    scheduling: ScheduleLimits,
    masquerading: MasqueradeLimits,
    addresses: Addresses,
}

impl Rule {
    fn take(fields: &mut Fields) -> Rule {
        Rule {
            scope: Scope::take(fields),
            scheduling: ScheduleLimits::take(fields),
            masquerading: MasqueradeLimits::take(fields),
            addresses: Addresses::take(fields),
        }
    }
}

impl NamespaceGuard {
    fn rule(&self, service: &Service) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.scope.contains(service))
    }
}

impl Plugin for NamespaceGuard {
    const NAME: &'static str = "namespace-guard";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(configuration: &str) -> Result<NamespaceGuard, Vec<String>> {
        Fields::read(configuration, |fields| NamespaceGuard {
            rules: fields.objects("rules", Rule::take),
            node_addresses: NodeAddresses::take(fields),
        })
    }

    fn needs(&self) -> Vec<String> {
        let mut needs: BTreeSet<String> = self.rules.iter().flat_map(|rule| rule.scope.needs()).collect();
        needs.extend(self.node_addresses.needs());
        needs.into_iter().collect()
    }
}

impl Filter for NamespaceGuard {
    fn select(&self, service: &Service, context: &Context) -> Result<Verdict, Error> {
        let mut verdict = Verdict::keep();
        let allowed = self.rule(service).map(|rule| &rule.addresses);
        for vip in addresses::vips(service) {
            let of_a_node = self.node_addresses.refusal(vip, context);
            let foreign = || allowed.and_then(|allowed| allowed.refusal(vip, &service.namespace));
            if let Some(reason) = of_a_node.or_else(foreign) {
                verdict = verdict.refuse(vip.kind, vip.address, reason);
            }
        }
        Ok(verdict)
    }
}

impl Scheduler for NamespaceGuard {
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error> {
        Ok(self
            .rule(service)
            .map_or_else(Schedule::keep, |rule| rule.scheduling.guard(service, prior, context)))
    }
}

impl Masquerade for NamespaceGuard {
    fn treat(&self, service: &Service, prior: &Treatments, _: &Context) -> Result<Treatments, Error> {
        Ok(self.rule(service).map_or_else(Treatments::keep, |rule| rule.masquerading.guard(service, prior)))
    }
}

/// Joins everything that was taken back into one reason; empty if nothing was.
fn reason(service: &Service, taken: BTreeSet<String>) -> String {
    if taken.is_empty() {
        return String::new();
    }
    let taken: Vec<String> = taken.into_iter().collect();
    format!("not allowed in namespace {}: {}", service.namespace, taken.join(", "))
}

export!(NamespaceGuard: filter, scheduler, masquerade);

#[cfg(test)]
mod tests;
