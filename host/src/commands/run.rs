//! `weir run`: keeps the kernel in sync with the objects. weir-daemon decides what to do and when; this module
//! provides its inputs and its clock, and passes on its outputs.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tracing::{error, info, warn};
use weir_core::policy::Policy as _;
use weir_core::sync::Round;
use weir_daemon::{Daemon, Done, Host as _, Input, Output, Setup};
use weir_serve::Health;

use crate::cli::RunArguments;
use crate::inputs;

mod board;
mod log;
mod machine;
mod objects;
mod plugins;
mod policy;
mod prepare;
mod publish;
mod records;
mod reload;
mod state;
mod takeover;
mod wake;

use board::Board;
use machine::Machine;
use objects::Objects;
use policy::Policy;
use prepare::Prepared;
use publish::Publisher;
use state::StateDirectory;
use wake::{News, Wake, Wakes};

/// How long a single round waits until all objects are known.
const ONCE_WAIT: Duration = Duration::from_secs(60);

/// The longest time without a turn of the loop, so that an old turn reveals a loop that hangs.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs until a signal; the kernel keeps its state.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let Prepared { settings, source, probe } = match prepare::prepare(arguments)? {
        ControlFlow::Continue(prepared) => prepared,
        ControlFlow::Break(status) => return Ok(status),
    };
    let (waker, wakes) = wake::start()?;
    let state = arguments.state_dir.as_deref().map(StateDirectory::new);
    let cache = state.as_ref().and_then(StateDirectory::cache);
    let (policy, chain) = Policy::start(arguments, &settings.node_name, cache, waker.clone())?;
    let (objects, recorder) = Objects::start(&source, &settings, chain.reads(), waker.clone())?;
    let families = &probe.capabilities.families;
    let (health, from) = (Health::new(settings.proxy.sync_period), source.to_string());
    let board = Board::new(&settings, families, from, objects.account(), health.clone());
    let publisher =
        Publisher::start(&settings, families, recorder, objects.account(), health, &board, !arguments.once)?;
    if let Some(file) = settings.file.clone() {
        let (metrics, board) = (publisher.metrics.clone(), board.clone());
        let tell = move |why: Option<String>| {
            metrics.configuration_refused(why.is_some());
            board.configuration_refused(why);
        };
        reload::watch(file, settings.configuration.clone(), waker, tell);
    }
    info!(node = settings.node_name, objects = %source, scheduler = settings.proxy.scheduler, "started");
    log::findings(&probe.findings);
    let machine = Machine::new(families);
    let setup = Setup {
        node_name: settings.node_name.clone(),
        bind_address: settings.configuration.bind_address(),
        proxy: settings.proxy.clone(),
        capabilities: probe.capabilities,
        from_api_server: objects.are_from_api_server(),
        epoch: inputs::now(),
        configured: policy.is_configured(),
        readiness: state.as_ref().map(StateDirectory::readiness).unwrap_or_default(),
    };
    let daemon = Daemon::new(setup, machine, Box::new(chain));
    let mut running = Running { daemon, objects, policy, publisher, board, state, last: None };
    if arguments.once {
        let succeeded = running.once(&wakes);
        return Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    running.publisher.begin(running.policy.refused());
    running.board.refused(running.policy.refused());
    running.board.resources(running.objects.resources());
    let why = running.run(&wakes);
    running.keep_state(true);
    if let Some(why) = why {
        // The supervisor restarts it.
        bail!("{why}");
    }
    info!("stopped; weir's state stays in the kernel (to remove it, run `weir cleanup`)");
    Ok(ExitCode::SUCCESS)
}

/// The daemon with all its inputs and outputs.
struct Running {
    daemon: Daemon<Machine>,
    objects: Objects,
    policy: Policy,
    publisher: Publisher,
    board: Board,
    state: Option<StateDirectory>,
    /// Whether the last round made every change; `None` before the first.
    last: Option<bool>,
}

/// Why the loop ends, if it was not asked to.
type End = Option<&'static str>;

impl Running {
    fn run(&mut self, wakes: &Wakes) -> End {
        loop {
            if let ControlFlow::Break(why) = self.turn(wakes, Duration::MAX) {
                return why;
            }
        }
    }

    /// Runs a single round as soon as all objects are known. Returns whether it made every change.
    fn once(&mut self, wakes: &Wakes) -> bool {
        let end = self.daemon.host().time() + ONCE_WAIT;
        while self.last.is_none() {
            let left = end.saturating_sub(self.daemon.host().time());
            if left.is_zero() {
                error!("could not read all objects within {} s", ONCE_WAIT.as_secs());
                return false;
            }
            if self.turn(wakes, left).is_break() {
                return false;
            }
        }
        self.last == Some(true)
    }

    /// Waits, at most this long, until something happens or is due, and handles it.
    fn turn(&mut self, wakes: &Wakes, most: Duration) -> ControlFlow<End> {
        let pause = self.daemon.next().saturating_sub(self.daemon.host().time()).min(most).min(LONGEST_PAUSE);
        let Ok(news) = wakes.wait(pause) else { return ControlFlow::Break(None) };
        self.publisher.turned();
        self.board.turned();
        if let Some(news) = news {
            self.take_note(news)?;
        }
        if !self.objects.can_be_heard() {
            let why = "the thread that follows the API server has stopped; this is a bug in weir";
            return ControlFlow::Break(Some(why));
        }
        let now = self.daemon.host().time();
        // A folder may change without a notification.
        if self.daemon.next() <= now && (self.daemon.audit_is_due(now) || !self.daemon.is_complete()) {
            self.objects.look();
            self.hear();
        }
        self.step(Input::Time);
        ControlFlow::Continue(())
    }

    fn take_note(&mut self, news: News) -> ControlFlow<End> {
        for message in news.messages {
            if let Some(lost) = self.objects.hear(message) {
                self.publisher.lost(lost);
            }
        }
        self.board.resources(self.objects.resources());
        for why in news.reasons {
            match why {
                Wake::Manifests => self.objects.look(),
                Wake::Addresses => self.step(Input::AddressesChanged),
                Wake::Policy => {
                    let (next, refusals) = self.policy.take_updates();
                    self.publisher.reload_refused(&refusals, self.policy.refused().len());
                    self.board.refused(self.policy.refused());
                    if let Some(next) = next {
                        self.step(Input::Policy(next));
                    }
                }
                Wake::Configuration => {
                    // kube-proxy's message.
                    return ControlFlow::Break(Some(
                        "content of the proxy server's configuration file was updated",
                    ));
                }
                Wake::Stop => return ControlFlow::Break(None),
            }
        }
        self.hear();
        ControlFlow::Continue(())
    }

    /// Passes on new objects.
    fn hear(&mut self) {
        let Some((events, listed)) = self.objects.take() else { return };
        events.iter().for_each(|event| self.publisher.heard(event));
        self.step(Input::Objects { events, listed });
    }

    fn step(&mut self, input: Input) {
        let now = self.daemon.host().time();
        let outputs = self.daemon.step(input, now);
        let acted = outputs.iter().any(|output| matches!(output, Output::Round(_) | Output::Unread(_)));
        for output in outputs {
            self.carry_out(output);
        }
        if acted {
            self.policy.keep_records(self.daemon.planner_mut());
            self.keep_state(false);
            self.publisher.forgotten(&self.daemon.host().take_forgotten());
            let time = self.daemon.policy_time(now);
            let plugins = weir_policy::status(self.daemon.planner(), time);
            self.board.plugins(plugins.clone());
            self.publisher.plugins(plugins);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Requested => self.publisher.requested(),
            Output::Follow(reads) => {
                self.objects.follow(reads);
                self.board.resources(self.objects.resources());
            }
            Output::Warning(warning) => warn!(fix = warning.fix(), "{warning}"),
            Output::ExtensionsBack => info!("all iptables matches and targets work now"),
            Output::Report(report) => self.publisher.report(&report),
            Output::Planned { stranded, health_checks } => {
                self.publisher.planned(&stranded);
                let node = self.daemon.planner().node();
                self.publisher.answer_health_checks(health_checks, node, &self.board);
            }
            Output::Replaced(replacement) => {
                log::replaced(&replacement);
                self.board.replaced(&replacement);
                self.publisher.replaced(&replacement);
            }
            Output::Sampled { read, failed, took } => self.publisher.sampled(read, failed, took),
            Output::Round(done) => self.tell_of_round(&done),
            Output::Overview(overview) => {
                self.publisher.reported(&overview.reports);
                self.publisher.warned(&overview.warnings);
                self.board.overview(*overview);
            }
            Output::Serving(families) => takeover::end_nftables_mode(&families),
            Output::UpToDate(family) => self.publisher.up_to_date(family),
            Output::Unread(error) => {
                error!("{error}; nothing was changed; weir will retry soon");
                self.publisher.unread();
                self.last = Some(false);
            }
        }
    }

    fn tell_of_round(&mut self, done: &Done) {
        let (effort, total) = self.daemon.host().take_effort();
        log::round(&done.round, effort, done.planning + done.kernel);
        self.publisher.ended(done, total);
        self.last = Some(Round::succeeded(&done.round));
    }

    /// Saves the state that a later process needs.
    fn keep_state(&mut self, last: bool) {
        let planner = self.daemon.planner();
        if let Some(state) = &mut self.state
            && planner.reads().ready_since
        {
            state.keep(planner.readiness(), std::time::Instant::now(), last);
        }
    }
}
