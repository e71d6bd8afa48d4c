//! The externally visible status of services: reports for their owners and answers for load balancers, as
//! differences.

use std::collections::BTreeMap;

use super::Planner;
use crate::net::Family;
use crate::objects::ObjectName;
use crate::report::{Reason, Report};
use crate::rule::Extension;
use crate::standing::Standing;
use crate::state::VirtualServer;

/// The externally visible status of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// What was refused, clamped or overruled for this service alone.
    pub reports: Vec<Report>,
    /// What load balancers and operators see of it.
    pub standing: Standing,
}

impl Planner {
    /// The current externally visible status of a service.
    pub fn outside(&self, name: &ObjectName) -> Outside {
        Outside {
            reports: self.reports.get(name).cloned().unwrap_or_default(),
            standing: self.standings.get(name).cloned().unwrap_or_default(),
        }
    }

    /// The services whose external view changed since the last call, each with its previous view.
    pub fn take_outside(&mut self) -> BTreeMap<ObjectName, Outside> {
        let before = std::mem::take(&mut self.before);
        before.into_iter().filter(|(name, before)| *before != self.outside(name)).collect()
    }

    /// Reports about services that are caused by other services or the node.
    pub fn shared_reports(&self) -> Vec<Report> {
        let mut reports = self.desired.reports();
        reports.extend(self.left_out());
        reports.extend(self.service_network());
        reports
    }

    /// Replaces the external view of a service.
    pub(super) fn show(&mut self, name: &ObjectName, outside: Outside) {
        let Outside { reports, standing } = outside;
        let old_reports = match reports.is_empty() {
            true => self.reports.remove(name),
            false => self.reports.insert(name.clone(), reports),
        };
        let old_standing = match standing.is_plain() {
            true => self.standings.remove(name),
            false => self.standings.insert(name.clone(), standing),
        };
        let changed = old_reports.as_ref() != self.reports.get(name)
            || old_standing.as_ref() != self.standings.get(name);
        if changed && !self.before.contains_key(name) {
            let reports = old_reports.unwrap_or_default();
            let standing = old_standing.unwrap_or_default();
            self.before.insert(name.clone(), Outside { reports, standing });
        }
    }

    /// Reports each VIP whose rule was left out because the kernel cannot run it.
    fn left_out(&self) -> Vec<Report> {
        let lacks = |server: VirtualServer| !self.node.capabilities.has(server.family(), Extension::Ipvs);
        if Family::BOTH.iter().all(|family| self.node.capabilities.has(*family, Extension::Ipvs)) {
            return Vec::new();
        }
        let closed = self.desired.closed_to_node().filter(|(server, _)| lacks(*server));
        closed
            .map(|(server, owner)| Report {
                service: owner.clone(),
                reason: Reason::RuleLeftOut,
                message: format!(
                    "this node can reach {}/{} although the source ranges exclude it, because the kernel has no \
                     `ipvs` match: run `modprobe xt_ipvs`",
                    server.address, server.protocol
                ),
            })
            .collect()
    }
}
