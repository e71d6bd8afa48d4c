//! One run: a scenario from its start until nothing more happens.

use std::time::Duration;

use weir_core::cluster::Event;
use weir_core::diff::Change;
use weir_core::net::{Family, PerFamily};
use weir_core::planner::Planner;
use weir_core::policy::{BuiltIn, Policy as _, Reads};
use weir_core::readiness::Readiness;
use weir_core::rule::Rule;
use weir_core::rule::Table;
use weir_core::simulated::{Foreign, Simulated};
use weir_core::state::KernelState;
use weir_daemon::{Daemon, Input, Listed, Output, Setup, Successor};
use weir_laws::hostile::AnyPolicy;
use weir_policy::Replacement;
use weir_world::NODE;

use crate::cluster::{ApiServer, Feed};
use crate::judge::{self, Seen, Told};
use crate::leaving::{Leavers, flows_kept};
use crate::machine::Machine;
use crate::pace::Pace;
use crate::scenario::{Scenario, Step};

/// The shortest pause between two rounds without news, and the number of rounds allowed after news.
const ROUND: Duration = Duration::from_millis(100);
const SOME_ROUNDS: u32 = 20;

/// Statistics of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps of the daemon.
    pub steps: u64,
    /// Changes made by the kernel.
    pub changes: u64,
    /// Number of times a fault stopped the daemon.
    pub crashes: u64,
}

/// Runs a scenario.
///
/// # Errors
/// The first thing that is wrong.
pub fn run(scenario: &Scenario) -> Result<Tally, String> {
    let mut run = Run::new(scenario);
    run.wait(Duration::ZERO)?;
    for (number, step) in scenario.steps.iter().enumerate() {
        run.happens(step).map_err(|why| format!("in step {number}, {step:?}: {why}"))?;
    }
    run.ends().map_err(|why| format!("after the quiet period: {why}"))?;
    Ok(run.tally)
}

mod quiet;

struct Run<'s> {
    scenario: &'s Scenario,
    machine: Machine,
    server: ApiServer,
    daemon: Daemon<Machine>,
    policy: AnyPolicy,
    told: Told,
    foreign: Foreign,
    /// Whether the kernel had exactly the desired state after the last step.
    calm: bool,
    interfered: bool,
    /// Whether others changed something since the last audit.
    tampered: bool,
    /// Whether the last attempt to read the kernel failed.
    unread: bool,
    /// How often the kernel had been read when an answer left its state unknown.
    doubted: Option<u64>,
    pace: Pace,
    leavers: Leavers,
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
        let now = machine.parts().clock;
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
            tampered: false,
            unread: false,
            doubted: None,
            pace: Pace::new(now, scenario.facts.config.min_sync_period),
            leavers: Leavers::default(),
            tally: Tally::default(),
        }
    }

    fn happens(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Store(event) => self.server.store((**event).clone()),
            Step::Tell(event) => {
                self.server.store((**event).clone());
                if let Some(feed) = Feed::of(event) {
                    let events = self.server.read(feed, usize::MAX);
                    self.hear(events)?;
                }
            }
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
            Step::Stream(feed, count, gap) => {
                for index in 0..*count {
                    self.wait(*gap)?;
                    let events = self.server.repeat(*feed, index);
                    self.hear(events.into_iter().collect())?;
                }
            }
            Step::Wait(time) => {
                self.wait(*time)?;
                self.sees_addresses(*time)?;
            }
            Step::Faults(script) => {
                self.machine.parts().kernel.plan_faults(script.iter().copied());
                (self.calm, self.interfered) = (false, true);
            }
            Step::Tamper(deeds) => {
                self.machine.tamper(|state| deeds.iter().for_each(|deed| deed.apply(state)));
                self.tampered = true;
                (self.calm, self.interfered) = (false, true);
            }
            Step::Connect(counts) => self.connect(counts),
            Step::Disconnect => self.disconnect(),
            Step::Mend => {
                self.machine.parts().missing = PerFamily::default();
            }
            Step::Hide(families) => {
                self.machine.parts().kernel.hide_rules(families.iter().copied());
                (self.calm, self.interfered) = (false, true);
            }
            Step::Addresses(addresses, said) => {
                self.machine.parts().addresses.clone_from(addresses);
                self.pace.addresses_asked = *said;
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
            self.leavers.connect((server, real), *count);
        }
    }

    fn disconnect(&mut self) {
        self.machine.parts().kernel.end_connections();
        self.leavers.disconnect();
    }

    /// The daemon knows that addresses may have changed, and had time to read them.
    fn sees_addresses(&mut self, time: Duration) -> Result<(), String> {
        let (addresses, readable) = {
            let parts = self.machine.parts();
            (parts.addresses.clone(), parts.readable)
        };
        let was_asked = self.pace.addresses_asked && readable && !self.unread;
        if !was_asked || time < self.pace.patience() {
            return Ok(());
        }
        self.pace.addresses_asked = false;
        match self.daemon.planner().node().host_addresses == addresses {
            true => Ok(()),
            false => Err("addresses changed but were not read, despite a notification".to_owned()),
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
        let now = self.machine.parts().clock;
        self.pace = Pace::new(now, self.scenario.facts.config.min_sync_period);
        self.leavers.forget();
        (self.unread, self.doubted, self.tampered) = (false, None, false);
        (self.calm, self.interfered) = (false, true);
        self.machine.take_log();
    }

    fn step(&mut self, input: Input) -> Result<(), String> {
        self.tally.steps += 1;
        let now = self.machine.parts().clock;
        let before: KernelState = self.machine.parts().kernel.state().clone();
        let was_complete = self.daemon.is_complete();
        let audits = self.daemon.audit_is_due(now) && self.daemon.next() <= now;
        let late = self.leavers.late(now, &before);
        let paced = self.pace.before(&self.daemon, now, !matches!(input, Input::Time));
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
            return Err(format!("changes the kernel before it is ready: `{}`", made[0].0));
        }
        if !was_complete && self.daemon.is_complete() {
            self.completes(now)?;
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
            tampered: self.tampered,
            unsure: self.interfered || failed,
            in_step,
            excluded: &self.scenario.facts.config.exclude_cidrs,
        };
        let mut wrong = judge::step(&seen);
        self.tampered &= !(audits && ended && !failed);
        wrong.extend(late);
        wrong.extend(self.looks_after(&outputs, &made, &desired, ended && !crashed && !failed));
        if ended || !made.is_empty() {
            self.calm = in_step && !failed;
        }
        if *self.machine.parts().kernel.foreign() != self.foreign {
            wrong.push("changed state that belongs to others".to_owned());
        }
        if crashed {
            self.tally.crashes += 1;
            self.restart(0);
        } else {
            let end = self.machine.parts().clock;
            wrong.extend(self.pace.after(&self.daemon, &paced, &outputs, end));
            wrong.extend(self.told.note(&outputs));
            wrong.extend(judge::unfounded_hints(&outputs, self.daemon.planner()));
            wrong.extend(judge::untrue(&outputs, self.daemon.planner()));
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

    /// The daemon reports that it knows enough to write.
    fn completes(&self, now: Duration) -> Result<(), String> {
        let listed = self.server.listed();
        let reads = self.daemon.planner().reads();
        let waited = self.pace.age(now) >= Duration::from_secs(30);
        if !listed.covers(Reads::default()) {
            return Err(
                "the daemon started before it had listed Services, EndpointSlices and its Node".to_owned()
            );
        }
        if !listed.covers(reads) && !waited && listed != Listed::ALL {
            return Err(
                "the daemon started before it had listed the objects that its policy reads".to_owned()
            );
        }
        Ok(())
    }

    /// Checks departing real servers and their connections.
    fn looks_after(
        &mut self,
        outputs: &[Output],
        made: &[(Change, KernelState)],
        wanted: &KernelState,
        well: bool,
    ) -> Vec<String> {
        let outcome = outputs.iter().fold(None, |last, output| match output {
            Output::Round(done) => Some(last.unwrap_or(true) && done.round.succeeded()),
            Output::Unread(_) => Some(false),
            _ => last,
        });
        self.unread = match outcome {
            Some(_) => outputs.iter().any(|output| matches!(output, Output::Unread(_))),
            None => self.unread,
        };
        let reads = self.machine.parts().reads;
        let mut wrong: Vec<String> = judge::doubts(outputs, &mut self.doubted, reads).into_iter().collect();
        if self.calm {
            wrong.extend(judge::refused(outputs));
        }
        wrong.extend(self.leavers.cut(made, self.daemon.planner_mut().desired()));
        if outcome == Some(true) && well {
            wrong.extend(flows_kept(made));
        }
        let trusted = well && outcome == Some(true) && !self.interfered;
        if trusted {
            let (now, mut state) = {
                let parts = self.machine.parts();
                (parts.clock, parts.kernel.state().clone())
            };
            let config = &self.scenario.facts.config;
            state.forget_excluded(&config.exclude_cidrs, wanted);
            let pause = config.min_sync_period;
            let desired = self.daemon.planner_mut().desired();
            wrong.extend(self.leavers.note(&state, wanted, desired, now, pause));
        } else if outcome.is_some() || self.interfered {
            self.leavers.forget();
        }
        wrong
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
