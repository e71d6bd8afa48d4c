//! `weir run`: keeps the kernel in step with the objects.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::bail;
use tracing::{debug, error, info, warn};
use weir_core::cluster::Event;
use weir_core::kernel::FailureKind;
use weir_core::planner::Planner;
use weir_core::report::Report;
use weir_core::sync::{Round, Syncer};
use weir_k8s::Problem;
use weir_k8s::manifests::Folder;
use weir_kernel::Linux;
use weir_kernel::capabilities::Probe;
use weir_kernel::linux::Effort;

use crate::cli::RunArguments;
use crate::inputs::{self, Settings};

mod agenda;
mod plugins;
mod policy;
mod prepare;
mod records;
mod reload;
mod state;
mod wake;

use agenda::Agenda;
use policy::Policy;
use prepare::Prepared;
use state::StateDirectory;
use wake::Wake;

/// How long to gather further events after each: a program that writes ten files causes one round.
const GATHER: Duration = Duration::from_millis(20);

/// How long to gather at most: a program that never stops writing must not hold up what it wrote.
const GATHER_AT_MOST: Duration = Duration::from_millis(200);

/// How often remembered answers of plugins are checked, and how many.
const POLICY_AUDIT: Duration = Duration::from_secs(60);
const POLICY_SAMPLE: usize = 8;

/// Runs until a signal; the kernel keeps its state.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let Prepared { settings, manifests, probe } = match prepare::prepare(arguments)? {
        ControlFlow::Continue(prepared) => prepared,
        ControlFlow::Break(status) => return Ok(status),
    };
    let (waker, wakes) = wake::start(&manifests)?;
    if let Some(file) = settings.file.clone() {
        reload::watch(file, settings.configuration.clone(), waker.clone());
    }
    let state = arguments.state_dir.as_deref().map(StateDirectory::new);
    let cache = state.as_ref().and_then(StateDirectory::cache);
    let policy = Policy::start(arguments, &settings.node_name, cache, waker)?;
    let mut daemon = Daemon::new(&manifests, settings, probe, policy, state);
    if arguments.once {
        let round = daemon.round(Instant::now());
        return Ok(if round.is_some_and(|round| round.succeeded()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    daemon.run(&wakes);
    daemon.keep_state(true);
    if daemon.configuration_changed {
        // What kube-proxy says; whoever supervises either starts it again.
        bail!("content of the proxy server's configuration file was updated");
    }
    info!("stopped; the kernel keeps its state (`weir cleanup` removes it)");
    Ok(ExitCode::SUCCESS)
}

struct Daemon {
    settings: Settings,
    folder: Folder,
    planner: Planner,
    syncer: Syncer<Linux>,
    policy: Policy,
    state: Option<StateDirectory>,
    agenda: Agenda,
    /// What times are counted from that clocks must not change.
    started: Instant,
    /// The same moment in seconds since 1970. Policies are told the time from here on, so that a clock that is set does
    /// not make answers old, or young for ever.
    started_at: u64,
    next_policy_audit: Instant,
    /// Whether the folder was read once; before that nothing is written.
    complete: bool,
    /// Whether it ends because its configuration is another now.
    configuration_changed: bool,
    /// What was said of the objects last time, so that it is said once.
    problems: Vec<Problem>,
    reports: Vec<Report>,
}

impl Daemon {
    fn new(
        manifests: &Path,
        settings: Settings,
        probe: Probe,
        policy: Policy,
        state: Option<StateDirectory>,
    ) -> Daemon {
        for finding in &probe.findings {
            match &finding.fix {
                None => debug!(topic = finding.topic, "{}", finding.text),
                Some(fix) => warn!(topic = finding.topic, fix, "{}", finding.text),
            }
        }
        let mut kernel = Linux::new(&probe.capabilities.families);
        let addresses = kernel.host_addresses().unwrap_or_else(|error| {
            warn!("{error}: no node ports until addresses can be read");
            Vec::new()
        });
        let view = settings.node_view(None, addresses, probe.capabilities);
        let agenda = Agenda::new(settings.proxy.sync_period, settings.proxy.min_sync_period, Instant::now());
        info!(
            node = settings.node_name,
            manifests = %manifests.display(),
            scheduler = settings.proxy.scheduler,
            "started"
        );
        let mut planner = Planner::new(view, Box::new(policy.chain.clone()));
        if let Some(state) = &state {
            planner.set_readiness(state.readiness());
        }
        Daemon {
            folder: Folder::new(manifests, &settings.node_name),
            planner,
            syncer: Syncer::new(kernel),
            policy,
            state,
            settings,
            agenda,
            started: Instant::now(),
            started_at: inputs::now(),
            next_policy_audit: Instant::now() + POLICY_AUDIT,
            complete: false,
            configuration_changed: false,
            problems: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn run(&mut self, wakes: &Receiver<Wake>) {
        self.round(Instant::now());
        loop {
            let pause = self.agenda.next().saturating_duration_since(Instant::now());
            let wake = match wakes.recv_timeout(pause) {
                Ok(wake) => Some(wake),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(wake) = wake {
                if !self.take_note(wake) {
                    return;
                }
                let end = Instant::now() + GATHER_AT_MOST;
                while Instant::now() < end
                    && let Ok(wake) = wakes.recv_timeout(GATHER)
                {
                    if !self.take_note(wake) {
                        return;
                    }
                }
                self.agenda.request(Instant::now());
            }
            let now = Instant::now();
            if self.agenda.next() <= now {
                self.round(now);
            }
        }
    }

    /// Whether to go on.
    fn take_note(&mut self, wake: Wake) -> bool {
        match wake {
            Wake::Manifests => {}
            Wake::Addresses => self.refresh_addresses(),
            Wake::Policy => self.policy.take_updates(),
            Wake::Configuration => {
                self.configuration_changed = true;
                return false;
            }
            Wake::Stop => return false,
        }
        true
    }

    /// An address list that cannot be read leaves the last one in force.
    fn refresh_addresses(&mut self) {
        match self.syncer.kernel().host_addresses() {
            Ok(addresses) => {
                let mut view = self.planner.node().clone();
                view.host_addresses = addresses;
                self.planner.set_node(view);
            }
            Err(error) => warn!("{error}: the last known addresses stay in force"),
        }
    }

    fn scan(&mut self) {
        let (events, problems) = self.folder.scan();
        let first = !self.complete && self.folder.is_complete();
        self.complete |= first;
        let mut node_changed = false;
        for event in events {
            node_changed |= matches!(event, Event::Node(_) | Event::NodeGone);
            self.planner.apply(event);
        }
        if node_changed {
            let old = self.planner.node();
            let view = self.settings.node_view(
                self.planner.node_object(),
                old.host_addresses.clone(),
                old.capabilities.clone(),
            );
            self.planner.set_node(view);
        }
        if first && self.planner.node_object().is_none() {
            let name = &self.settings.node_name;
            warn!(
                "no Node object `{name}` among the manifests: its addresses, zone and pod networks are unknown"
            );
        }
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            warn!("{problem}");
        }
        self.problems = problems;
    }

    /// Keeps what a later process should know.
    fn keep_state(&mut self, last: bool) {
        if let Some(state) = &mut self.state
            && self.planner.policy().reads().ready_since
        {
            state.keep(self.planner.readiness(), Instant::now(), last);
        }
    }

    fn policy_time(&self) -> u64 {
        self.started_at + self.started.elapsed().as_secs()
    }

    /// Asks plugins some questions again that they answered before.
    fn audit_policy(&mut self, now: Instant) {
        if now < self.next_policy_audit {
            return;
        }
        self.next_policy_audit = now + POLICY_AUDIT;
        for report in self.planner.audit_policy(POLICY_SAMPLE, self.policy_time()) {
            warn!(service = %report.service, reason = %report.reason, "{}", report.message);
        }
    }

    fn round(&mut self, now: Instant) -> Option<Round> {
        if self.agenda.audit_is_due(now) {
            self.syncer.audit();
            self.refresh_addresses();
            self.audit_policy(now);
        }
        self.scan();
        if !self.complete {
            self.agenda.failed(now);
            return None;
        }
        let time = self.policy_time();
        self.policy.exchange(&mut self.planner, time);
        let plan = self.planner.plan_at(time);
        self.policy.keep_records();
        self.keep_state(false);
        for report in plan.reports.iter().filter(|report| !self.reports.contains(report)) {
            warn!(service = %report.service, reason = %report.reason, "{}", report.message);
        }
        let effort = self.syncer.kernel().effort();
        let round = self.syncer.round(&plan, self.started.elapsed());
        let effort = self.syncer.kernel().effort() - effort;
        self.reports = plan.reports;
        match round {
            Ok(round) => {
                log(&round, effort, now.elapsed());
                self.agenda.done(now, &round, self.started);
                if let Some(at) = self.planner.next_expiry() {
                    let since_start = Duration::from_secs(at.saturating_sub(self.started_at));
                    self.agenda.expect(self.started + since_start);
                }
                Some(round)
            }
            Err(error) => {
                error!("{error}; nothing was changed, tried again soon");
                self.agenda.failed(now);
                None
            }
        }
    }
}

/// One line per round that did something, one per failure with a cause of its own, and one per change for those who
/// want to see each.
fn log(round: &Round, effort: Effort, took: Duration) {
    let mut failed = 0;
    for (change, outcome) in &round.changes {
        match outcome {
            Ok(()) => debug!(change = %change, "changed"),
            Err(failure) => {
                failed += 1;
                match failure.kind {
                    // The change that it waits for has its own line, and may keep hundreds from being tried.
                    FailureKind::Prerequisite => debug!(change = %change, "{failure}"),
                    FailureKind::Stale | FailureKind::Busy | FailureKind::Refused => {
                        error!(change = %change, "{failure}");
                    }
                }
            }
        }
    }
    if !round.changes.is_empty() {
        let changes = round.changes.len();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let Effort { messages, sends, receives, processes } = effort;
        let draining = round.waiting.len();
        info!(changes, failed, draining, messages, sends, receives, processes, took_ms, "synchronised");
    }
}
