//! The end of a run: faults stop, and after a while everything must equal a plan made from scratch.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::cluster::Event;
use weir_core::node::OtherNodes;
use weir_core::planner::Planner;
use weir_world::NODE;

use super::Run;

/// Longer than any wait.
const QUIET: Duration = Duration::from_secs(400);

impl Run<'_> {
    /// Stops all faults.
    pub(super) fn ends(&mut self) -> Result<(), String> {
        {
            let mut parts = self.machine.parts();
            parts.kernel.plan_faults([]);
            parts.kernel.hide_rules([]);
            parts.readable = true;
        }
        self.disconnect();
        (self.calm, self.interfered) = (false, true);
        // Twice, because the daemon may follow more objects once it knows more.
        for _ in 0..2 {
            self.relist()?;
            self.wait(QUIET)?;
        }
        let before = self.tally.changes;
        self.wait(QUIET)?;
        if self.tally.changes > before {
            return Err("keeps changing the kernel".to_owned());
        }
        let mut state = self.machine.parts().kernel.state().clone();
        let mut planner = self.oracle();
        let now = self.daemon.policy_time(self.machine.parts().clock);
        let plan = planner.plan_at(now);
        state.forget_excluded(&self.scenario.facts.config.exclude_cidrs, &plan.state);
        let differences = state.differences(&plan.state);
        if !differences.is_empty() {
            return Err(format!("the kernel differs from a plan made from scratch: {differences:?}"));
        }
        if !self.daemon.is_as_desired() {
            return Err("does not report that it is done".to_owned());
        }
        if self.daemon.planner().reports() != plan.reports {
            return Err(format!("reports differ from those of a plan made from scratch: {:?}", plan.reports));
        }
        let checks = plan.standings.iter();
        let checks: BTreeMap<_, _> =
            checks.filter_map(|(name, standing)| Some((name.clone(), standing.health_check?))).collect();
        if self.told.checks != checks {
            return Err(format!("health checks: {:?} instead of {checks:?}", self.told.checks));
        }
        let mut stranded: BTreeMap<_, u64> = BTreeMap::new();
        let all = plan.standings.values().flat_map(|standing| &standing.stranded);
        all.for_each(|of| *stranded.entry(*of).or_default() += 1);
        self.told.stranded.retain(|_, count| *count > 0);
        if self.told.stranded != stranded {
            return Err(format!("stranded: {:?} instead of {stranded:?}", self.told.stranded));
        }
        for report in plan.reports {
            let cause = (&report.service, report.reason);
            if !self.told.reports.iter().any(|told| (&told.service, told.reason) == cause) {
                return Err(format!("never reported: {report}"));
            }
        }
        let capabilities = self.daemon.planner().node().capabilities.clone();
        for family in capabilities.families.iter().filter(|family| !capabilities.loses_vips(**family)) {
            if !self.told.is_up_to_date(*family) {
                return Err(format!("{family} is in the kernel but was not reported"));
            }
        }
        Ok(())
    }

    /// A planner that receives everything at once, in another order.
    fn oracle(&self) -> Planner {
        let mut planner = Planner::new(self.daemon.planner().node().clone(), Box::new(self.policy.clone()));
        let mut events: Vec<Event> = self.server.told().cloned().collect();
        events.reverse();
        for event in events {
            planner.apply(event);
        }
        let old = self.daemon.planner().node();
        let (config, mut capabilities) = (old.config.clone(), self.scenario.facts.capabilities.clone());
        let addresses = self.machine.parts().addresses.clone();
        capabilities.missing = self.machine.parts().missing.clone();
        let object = self.daemon.planner().node_object();
        planner.set_node(weir_core::node::NodeView::new(NODE, object, None, addresses, config, capabilities));
        planner.set_other_nodes(OtherNodes::Known);
        planner
    }
}
