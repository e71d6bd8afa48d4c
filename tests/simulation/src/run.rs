//! One run: a scenario from its start until it is quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::cluster::Event;
use weir_core::net::Family;
use weir_core::node::OtherNodes;
use weir_core::planner::Planner;
use weir_core::policy::{BuiltIn, Policy as _, Reads};
use weir_core::readiness::Readiness;
use weir_core::rule::Rule;
use weir_core::rule::Table;
use weir_core::simulated::{Foreign, Simulated};
use weir_core::state::KernelState;
use weir_daemon::{Daemon, Input, Output, Setup, Successor};
use weir_laws::hostile::AnyPolicy;
use weir_laws::world::NODE;
use weir_policy::Replacement;

use crate::cluster::{ApiServer, Feed};
use crate::judge::{self, Seen, Told};
use crate::machine::Machine;
use crate::scenario::{Scenario, Step};

/// Longer than anything is waited for.
const QUIET: Duration = Duration::from_secs(400);

/// The shortest pause between two rounds that nothing new asks for, and some rounds that something does.
const ROUND: Duration = Duration::from_millis(100);
const SOME_ROUNDS: u32 = 20;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps of the daemon.
    pub steps: u64,
    /// Changes that the kernel made.
    pub changes: u64,
    /// Times the daemon was ended by a fault.
    pub crashes: u64,
}

/// Runs a scenario.
///
/// # Errors
/// With what is wrong first.
pub fn run(scenario: &Scenario) -> Result<Tally, String> {
    let mut run = Run::new(scenario);
    run.wait(Duration::ZERO)?;
    for (number, step) in scenario.steps.iter().enumerate() {
        run.happens(step).map_err(|why| format!("in step {number}, {step:?}: {why}"))?;
    }
    run.ends().map_err(|why| format!("when all is quiet: {why}"))?;
    Ok(run.tally)
}

struct Run<'s> {
    scenario: &'s Scenario,
    machine: Machine,
    server: ApiServer,
    daemon: Daemon<Machine>,
    policy: AnyPolicy,
    told: Told,
    foreign: Foreign,
    /// Whether the kernel held just what was desired after the last step.
    calm: bool,
    interfered: bool,
    tally: Tally,
}

struct Next(AnyPolicy);

impl Successor for Next {
    fn reads(&self) -> Reads {
        self.0.reads()
    }

    fn replace(self: Box<Self>, planner: &mut Planner, now: u64, _: bool) -> Replacement {
        let candidate = planner.consider(self.0, now);
        let (changed, services) = (candidate.changed, candidate.services);
        candidate.accept();
        Replacement::Taken { changed, services }
    }
}

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario) -> Run<'s> {
        let left = scenario.left.as_ref().map(|world| world.planned(BuiltIn).plan().state);
        let rule = Rule::Foreign("-p tcp -m tcp --dport 22 -j ACCEPT".to_owned());
        let foreign = Foreign {
            rules: [(Family::V4, Table::Filter, "OTHERS".to_owned(), rule)].into(),
            sets: ["others".to_owned()].into(),
            ..Foreign::default()
        };
        let kernel = Simulated::new(left.unwrap_or_default()).with_foreign(foreign.clone());
        let missing = scenario.facts.capabilities.missing.clone();
        let machine = Machine::new(kernel, scenario.facts.host_addresses.clone(), missing);
        let mut server = ApiServer::default();
        scenario.objects.iter().for_each(|event| server.store(event.clone()));
        let policy = scenario.policy.clone();
        let daemon = daemon(scenario, &machine, &policy, Readiness::default(), 0);
        Run {
            scenario,
            machine,
            server,
            daemon,
            policy,
            told: Told::default(),
            foreign,
            calm: false,
            interfered: true,
            tally: Tally::default(),
        }
    }

    fn happens(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Store(event) => self.server.store((**event).clone()),
            Step::Read(feed, most) => {
                let events = self.server.read(*feed, *most);
                self.hear(events)?;
            }
            Step::List(feed) => {
                let events = self.server.list(*feed);
                self.hear(events)?;
            }
            Step::Repeat(feed, index) => {
                let events = self.server.repeat(*feed, *index);
                self.hear(events.into_iter().collect())?;
            }
            Step::Wait(time) => self.wait(*time)?,
            Step::Faults(script) => {
                self.machine.parts().kernel.plan_faults(script.iter().copied());
                (self.calm, self.interfered) = (false, true);
            }
            Step::Tamper(deeds) => {
                self.machine.tamper(|state| deeds.iter().for_each(|deed| deed.apply(state)));
                (self.calm, self.interfered) = (false, true);
            }
            Step::Connect(counts) => self.connect(counts),
            Step::Disconnect => self.machine.parts().kernel.end_connections(),
            Step::Hide(families) => {
                self.machine.parts().kernel.hide_rules(families.iter().copied());
                (self.calm, self.interfered) = (false, true);
            }
            Step::Addresses(addresses, said) => {
                self.machine.parts().addresses.clone_from(addresses);
                if *said {
                    self.step(Input::AddressesChanged)?;
                }
            }
            Step::Readable(readable) => self.machine.parts().readable = *readable,
            Step::Policy(policy) => {
                self.policy = (**policy).clone();
                self.step(Input::Policy(Box::new(Next(self.policy.clone()))))?;
            }
            Step::Restart(seconds) => self.restart(i64::from(*seconds)),
        }
        self.settle()
    }

    /// Whatever was wrong is over.
    fn ends(&mut self) -> Result<(), String> {
        {
            let mut parts = self.machine.parts();
            parts.kernel.plan_faults([]);
            parts.kernel.hide_rules([]);
            parts.kernel.end_connections();
            parts.readable = true;
        }
        (self.calm, self.interfered) = (false, true);
        // Twice, because what is followed may depend on what is known.
        for _ in 0..2 {
            self.relist()?;
            self.wait(QUIET)?;
        }
        let before = self.tally.changes;
        self.wait(QUIET)?;
        if self.tally.changes > before {
            return Err("it goes on changing the kernel".to_owned());
        }
        let state = self.machine.parts().kernel.state().clone();
        let mut planner = self.oracle();
        let now = self.daemon.policy_time(self.machine.parts().clock);
        let plan = planner.plan_at(now);
        let differences = state.differences(&plan.state);
        if !differences.is_empty() {
            return Err(format!("the kernel is not as a plan from nothing wants it: {differences:?}"));
        }
        if !self.daemon.is_as_desired() {
            return Err("it does not know that it is done".to_owned());
        }
        if self.daemon.planner().reports() != plan.reports {
            return Err(format!("reports are not those of a plan from nothing: {:?}", plan.reports));
        }
        let checks = plan.standings.iter();
        let checks: BTreeMap<_, _> = checks
            .filter_map(|(name, standing)| Some((name.clone(), standing.health_check.clone()?)))
            .collect();
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
                return Err(format!("never told: {report}"));
            }
        }
        let capabilities = self.daemon.planner().node().capabilities.clone();
        for family in capabilities.families.iter().filter(|family| !capabilities.loses_vips(**family)) {
            if !self.told.is_up_to_date(*family) {
                return Err(format!("{family} is in the kernel, and nobody was told"));
            }
        }
        Ok(())
    }

    /// A planner that hears everything at once, in another order.
    fn oracle(&self) -> Planner {
        let mut planner = Planner::new(self.daemon.planner().node().clone(), Box::new(self.policy.clone()));
        let mut events: Vec<Event> = self.server.told().cloned().collect();
        events.reverse();
        for event in events {
            planner.apply(event);
        }
        let old = self.daemon.planner().node();
        let (config, capabilities) = (old.config.clone(), self.scenario.facts.capabilities.clone());
        let addresses = self.machine.parts().addresses.clone();
        let object = self.daemon.planner().node_object();
        planner.set_node(weir_core::node::NodeView::new(NODE, object, None, addresses, config, capabilities));
        planner.set_other_nodes(OtherNodes::Known);
        planner
    }

    fn hear(&mut self, events: Vec<Event>) -> Result<(), String> {
        for event in &events {
            if let Event::ServiceGone(name) = event {
                self.told.forget(name);
            }
        }
        self.step(Input::Objects { events, listed: self.server.listed() })
    }

    fn relist(&mut self) -> Result<(), String> {
        for feed in Feed::ALL {
            let events = self.server.list(feed);
            self.hear(events)?;
        }
        Ok(())
    }

    fn connect(&mut self, counts: &[u32]) {
        let mut parts = self.machine.parts();
        let servers: Vec<_> =
            parts.kernel.state().real_servers().map(|(server, real, _)| (server, real)).collect();
        for ((server, real), count) in servers.into_iter().zip(counts.iter().cycle()) {
            parts.kernel.set_connections(server, real, *count);
        }
    }

    fn wait(&mut self, time: Duration) -> Result<(), String> {
        let end = self.machine.parts().clock + time;
        let most = u32::try_from(time.as_millis() / ROUND.as_millis()).unwrap_or(u32::MAX) + SOME_ROUNDS;
        for _ in 0..most {
            let next = self.daemon.next();
            if next > end {
                let mut parts = self.machine.parts();
                parts.clock = parts.clock.max(end);
                return Ok(());
            }
            {
                let mut parts = self.machine.parts();
                parts.clock = parts.clock.max(next);
            }
            self.step(Input::Time)?;
        }
        Err(format!("a round is due more often than every {ROUND:?}"))
    }

    fn settle(&mut self) -> Result<(), String> {
        self.wait(Duration::ZERO)
    }

    fn restart(&mut self, seconds: i64) {
        let readiness = self.daemon.planner().readiness().clone();
        self.machine.parts().kernel.restart();
        self.server.forget_watches();
        self.daemon = daemon(self.scenario, &self.machine, &self.policy, readiness, seconds);
        self.told = Told::default();
        (self.calm, self.interfered) = (false, true);
        self.machine.take_log();
    }

    fn step(&mut self, input: Input) -> Result<(), String> {
        self.tally.steps += 1;
        let now = self.machine.parts().clock;
        let before: KernelState = self.machine.parts().kernel.state().clone();
        let was_complete = self.daemon.is_complete();
        let audits = self.daemon.audit_is_due(now) && self.daemon.next() <= now;
        let outputs = self.daemon.step(input, now);
        let made = self.machine.take_log();
        self.tally.changes += made.len() as u64;
        let crashed = self.machine.parts().kernel.has_crashed();
        let ended = outputs.iter().any(|output| matches!(output, Output::Round(_)));
        let failed = crashed
            || outputs.iter().any(|output| match output {
                Output::Round(done) => judge::failed(done),
                Output::Unread(_) => true,
                _ => false,
            });
        if !was_complete && !self.daemon.is_complete() && !made.is_empty() {
            return Err(format!("it knows too little and does `{}`", made[0].0));
        }
        let desired = match made.is_empty() && !ended {
            true => KernelState::default(),
            false => self.daemon.planner_mut().desired().state(),
        };
        let interfered = self.interfered || failed;
        if audits && ended && !crashed {
            self.interfered &= failed;
        }
        let in_step = ended && !crashed && !self.interfered && self.daemon.is_as_desired();
        let seen = Seen {
            before: &before,
            desired: &desired,
            made: &made,
            outputs: if crashed { &[] } else { &outputs },
            calm: self.calm && !failed,
            interfered,
            unsure: self.interfered || failed,
            in_step,
        };
        let mut wrong = judge::step(&seen);
        if ended || !made.is_empty() {
            self.calm = in_step && !failed;
        }
        if *self.machine.parts().kernel.foreign() != self.foreign {
            wrong.push("it changed what belongs to others".to_owned());
        }
        if crashed {
            self.tally.crashes += 1;
            self.restart(0);
        } else {
            wrong.extend(self.told.note(&outputs));
            for output in &outputs {
                if let Output::Follow(reads) = output {
                    self.server.follow(*reads);
                }
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("; ")),
        }
    }
}

fn daemon(
    scenario: &Scenario,
    machine: &Machine,
    policy: &AnyPolicy,
    readiness: Readiness,
    clock_set: i64,
) -> Daemon<Machine> {
    let setup = Setup {
        node_name: NODE.to_owned(),
        bind_address: None,
        proxy: scenario.facts.config.clone(),
        capabilities: scenario.facts.capabilities.clone(),
        from_api_server: true,
        epoch: 1_800_000_000_u64.saturating_add_signed(clock_set),
        configured: true,
        readiness,
    };
    Daemon::new(setup, machine.clone(), Box::new(policy.clone()))
}
