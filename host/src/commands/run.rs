//! `weir run`: keeps the kernel in step with the objects.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use tracing::{error, info, warn};
use weir_core::cluster::Event;
use weir_core::node::DetectLocal;
use weir_core::planner::Planner;
use weir_core::policy::{Policy as _, Reads};
use weir_core::sync::{Round, Syncer};
use weir_kernel::Linux;
use weir_kernel::capabilities::Probe;
use weir_policy::Chain;

use crate::cli::RunArguments;
use crate::inputs::{self, Settings};

mod agenda;
mod log;
mod objects;
mod others;
mod plugins;
mod policy;
mod prepare;
mod publish;
mod records;
mod reload;
mod sampling;
mod state;
mod takeover;
mod upkeep;
mod wake;

use agenda::Agenda;
use objects::Objects;
use others::{NODES, Others};
use policy::Policy;
use prepare::Prepared;
use publish::{Publisher, Times};
use sampling::Sampling;
use state::StateDirectory;
use wake::{News, Wake, Wakes};

/// How long to gather further events after each: a program that writes ten files causes one round.
const GATHER: Duration = Duration::from_millis(20);

/// How long to gather at most: a program that never stops writing must not hold up what it wrote.
const GATHER_AT_MOST: Duration = Duration::from_millis(200);

/// How often remembered answers of plugins are checked, and how many.
const POLICY_AUDIT: Duration = Duration::from_secs(60);
const POLICY_SAMPLE: usize = 8;

/// How long a start waits for this node's object, as kube-proxy does.
const NODE_WAIT: Duration = Duration::from_secs(30);

/// How long it waits for the node's pod networks, where masquerading depends on them. kube-proxy exits afterwards; here
/// services come up, and the networks are taken when they come.
const NETWORKS_WAIT: Duration = Duration::from_secs(300);

/// When addresses that could not be read are read again.
const ADDRESSES_RETRY: Duration = Duration::from_secs(1);

/// How long a single round waits until all objects are known.
const ONCE_WAIT: Duration = Duration::from_secs(60);

/// Runs until a signal; the kernel keeps its state.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let Prepared { settings, source, probe } = match prepare::prepare(arguments)? {
        ControlFlow::Continue(prepared) => prepared,
        ControlFlow::Break(status) => return Ok(status),
    };
    let (waker, wakes) = wake::start()?;
    if let Some(file) = settings.file.clone() {
        reload::watch(file, settings.configuration.clone(), waker.clone());
    }
    let state = arguments.state_dir.as_deref().map(StateDirectory::new);
    let cache = state.as_ref().and_then(StateDirectory::cache);
    let (policy, chain) = Policy::start(arguments, &settings.node_name, cache, waker.clone())?;
    let (objects, recorder) = Objects::start(&source, &settings, chain.reads(), waker)?;
    let families = &probe.capabilities.families;
    let publisher = Publisher::start(&settings, families, recorder, !arguments.once)?;
    info!(node = settings.node_name, objects = %source, scheduler = settings.proxy.scheduler, "started");
    let mut daemon = Daemon::new(settings, probe, objects, (policy, chain), publisher, state);
    if arguments.once {
        let succeeded = daemon.once(&wakes);
        return Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    daemon.run(&wakes);
    daemon.keep_state(true);
    if let Some(why) = daemon.ended {
        // Whoever supervises it starts it again.
        bail!("{why}");
    }
    info!("stopped; the kernel keeps its state (`weir cleanup` removes it)");
    Ok(ExitCode::SUCCESS)
}

struct Daemon {
    settings: Settings,
    objects: Objects,
    planner: Planner,
    syncer: Syncer<Linux>,
    policy: Policy,
    publisher: Publisher,
    state: Option<StateDirectory>,
    agenda: Agenda,
    sampling: Sampling,
    others: Others,
    /// What times are counted from that clocks must not change.
    started: Instant,
    /// The same moment in seconds since 1970. Policies are told the time from here on, so that a clock that is set does
    /// not make answers old, or young for ever.
    started_at: u64,
    next_policy_audit: Instant,
    /// Whether what another mode left was looked for.
    taken_over: bool,
    /// Whether all objects were seen once; before that nothing is written.
    complete: bool,
    /// Whether the kernel was brought to a plan since the start.
    synchronised: bool,
    /// Whether the node's addresses were read once; before that nothing is written either.
    addresses_known: bool,
    /// Whether addresses may have changed since they were read: the next round looks, however often that was said.
    addresses_changed: bool,
    /// Whether the last round could not write rules: a match may have gone missing.
    rules_failed: bool,
    /// Why it ends, if nobody asked for that.
    ended: Option<&'static str>,
}

impl Daemon {
    fn new(
        settings: Settings,
        probe: Probe,
        objects: Objects,
        (policy, chain): (Policy, Chain),
        publisher: Publisher,
        state: Option<StateDirectory>,
    ) -> Daemon {
        log::findings(&probe.findings);
        let mut kernel = Linux::new(&probe.capabilities.families);
        let addresses = kernel.host_addresses();
        let addresses_known = addresses.is_ok();
        let addresses = addresses.unwrap_or_else(|error| {
            warn!("{error}: nothing is written until addresses can be read");
            Vec::new()
        });
        let view = settings.node_view(None, addresses, probe.capabilities);
        let agenda = Agenda::new(settings.proxy.sync_period, settings.proxy.min_sync_period, Instant::now());
        let mut planner = Planner::new(view, Box::new(chain));
        if let Some(state) = &state {
            planner.set_readiness(state.readiness());
        }
        Daemon {
            objects,
            planner,
            syncer: Syncer::new(kernel, settings.proxy.sync_period),
            policy,
            publisher,
            state,
            settings,
            agenda,
            sampling: Sampling::default(),
            others: Others::default(),
            started: Instant::now(),
            started_at: inputs::now(),
            taken_over: false,
            next_policy_audit: Instant::now() + POLICY_AUDIT,
            complete: false,
            synchronised: false,
            addresses_known,
            addresses_changed: false,
            rules_failed: false,
            ended: None,
        }
    }

    fn run(&mut self, wakes: &Wakes) {
        self.publisher.begin();
        self.round(Instant::now());
        loop {
            let next = self.next_sampling().into_iter().fold(self.agenda.next(), Instant::min);
            let pause = next.saturating_duration_since(Instant::now());
            let Ok(news) = wakes.wait(pause) else { return };
            if let Some(news) = news {
                if !self.take_note(news) {
                    return;
                }
                let end = Instant::now() + GATHER_AT_MOST;
                while Instant::now() < end
                    && let Ok(Some(news)) = wakes.wait(GATHER)
                {
                    if !self.take_note(news) {
                        return;
                    }
                }
                self.agenda.request(Instant::now());
                // For kube-proxy, what comes before all objects are known is no request that could be late, but for the
                // zone of its node (Q37).
                let in_zone = self.planner.node_object().is_some_and(|node| node.zone().is_some());
                if self.complete || in_zone || !self.addresses_known {
                    self.publisher.requested();
                }
            }
            if !self.objects.can_be_heard() {
                self.ended =
                    Some("the thread that follows the API server has ended, which is a defect of weir");
                return;
            }
            let now = Instant::now();
            if self.agenda.next() <= now {
                self.round(now);
            }
            // After the round: what changed in the cluster goes first.
            self.sample();
        }
    }

    /// Whether to go on.
    fn take_note(&mut self, news: News) -> bool {
        for message in news.messages {
            if let Some(lost) = self.objects.hear(message) {
                self.publisher.lost(lost);
            }
        }
        for why in news.reasons {
            match why {
                Wake::Manifests => {}
                Wake::Addresses => self.addresses_changed = true,
                Wake::Policy => {
                    for refusal in self.policy.take_updates() {
                        self.publisher.policy_refused(refusal);
                    }
                }
                Wake::Configuration => {
                    // What kube-proxy says.
                    self.ended = Some("content of the proxy server's configuration file was updated");
                    return false;
                }
                Wake::Stop => return false,
            }
        }
        true
    }

    /// An address list that cannot be read leaves the last one in force.
    fn refresh_addresses(&mut self) {
        self.addresses_changed = false;
        match self.syncer.kernel().host_addresses() {
            Ok(addresses) => {
                let mut view = self.planner.node().clone();
                view.host_addresses = addresses;
                self.planner.set_node(view);
                self.addresses_known = true;
            }
            Err(error) => {
                warn!("{error}: the last known addresses stay in force, tried again soon");
                self.addresses_changed = true;
                self.agenda.expect(Instant::now() + ADDRESSES_RETRY);
            }
        }
    }

    /// Takes note of what changed in the cluster, and says whether anything did.
    fn hear(&mut self) -> bool {
        let mut node_changed = false;
        let events = self.objects.take();
        let any = !events.is_empty();
        for event in events {
            self.publisher.heard(&event);
            if matches!(event, Event::NodeGone) {
                // kube-proxy exits here and leaves the node as it is. A plan for a node without addresses and networks
                // would open node ports everywhere.
                warn!("the Node object is gone: its last addresses, zone and networks stay in force");
                continue;
            }
            node_changed |= matches!(event, Event::Node(_));
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
        any
    }

    /// Whether enough is known for a plan. Once it was, it stays so.
    fn is_complete(&mut self) -> bool {
        if self.complete {
            return true;
        }
        // Without them node ports would be deleted, and addresses of the node bound to the dummy device.
        if !self.addresses_known {
            return false;
        }
        let node = self.planner.node_object();
        let needs_networks = self.settings.proxy.detect_local == DetectLocal::NodeCidr;
        let wait = match node {
            None if needs_networks => NETWORKS_WAIT,
            None => NODE_WAIT,
            Some(node) if needs_networks && node.pod_cidrs.is_empty() => NETWORKS_WAIT,
            Some(_) => Duration::ZERO,
        };
        let waited = self.started.elapsed();
        if (self.objects.awaits_node() && waited < wait) || !self.objects.are_complete(Reads::default()) {
            return false;
        }
        let reads = self.reads();
        self.objects.follow(reads);
        // These may never come, for want of permissions. Traffic does not wait for that.
        if !self.objects.are_complete(reads) && waited < NODE_WAIT {
            return false;
        }
        if !self.objects.are_complete(self.policy.reads(&self.planner)) {
            warn!(
                "plugins read nodes or namespaces, which the API server did not list: they are decided without"
            );
        }
        if reads.nodes && !self.objects.are_complete(NODES) && self.planner.asks_for_nodes() {
            self.others.give_up();
        }
        if node.is_none() {
            let name = &self.settings.node_name;
            warn!(
                "there is no Node object `{name}`: its addresses, zone and pod networks are unknown (another name? give \
                 --hostname-override)"
            );
        } else if needs_networks && node.is_some_and(|node| node.pod_cidrs.is_empty()) {
            warn!(
                "the Node object has no podCIDRs: nothing is masqueraded by them (detectLocalMode NodeCIDR) until it has"
            );
        }
        self.complete = true;
        self.publisher.requested();
        true
    }

    /// Keeps what a later process should know.
    fn keep_state(&mut self, last: bool) {
        if let Some(state) = &mut self.state
            && self.planner.reads().ready_since
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
            self.publisher.report(&report);
        }
    }

    /// A single round, as soon as all objects are known. Whether it made every change.
    fn once(&mut self, wakes: &Wakes) -> bool {
        let end = Instant::now() + ONCE_WAIT;
        self.hear();
        while !self.is_complete() {
            let left = end.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
            match wakes.wait(left) {
                Ok(Some(news)) => {
                    if !self.take_note(news) {
                        return false;
                    }
                }
                Ok(None) | Err(_) if left.is_zero() => {
                    error!("not all objects could be read within {} s", ONCE_WAIT.as_secs());
                    return false;
                }
                Ok(None) | Err(_) => {}
            }
            if !self.addresses_known {
                self.refresh_addresses();
            }
            self.hear();
        }
        self.round(Instant::now()).is_some_and(|round| round.succeeded())
    }

    fn round(&mut self, now: Instant) -> Option<Round> {
        let audit = self.agenda.audit_is_due(now);
        if audit {
            self.syncer.audit();
            self.audit_policy(now);
            self.look_after_node();
        }
        if audit || self.addresses_changed || !self.addresses_known {
            self.refresh_addresses();
        }
        let mut news = self.hear();
        if !self.is_complete() {
            self.agenda.postponed(now);
            return None;
        }
        let time = self.policy_time();
        self.follow(now);
        if self.objects.are_complete(self.policy.reads(&self.planner))
            && let Some(replacement) = self.policy.exchange(&mut self.planner, time)
        {
            self.publisher.replaced(&replacement);
            news = true;
        }
        self.planner.update(time);
        let planned = now.elapsed();
        self.policy.keep_records(&mut self.planner);
        self.keep_state(false);
        self.publisher.planned(self.planner.reports(), self.planner.standings());
        let effort = self.syncer.kernel().effort();
        let began = self.started.elapsed();
        let round = self.syncer.round(self.planner.desired(), began);
        let total = self.syncer.kernel().effort();
        self.publisher.contact(self.objects.since_contact(), &self.objects.requests());
        self.publisher.forgotten(&self.syncer.kernel().take_forgotten());
        self.publisher.plugins(weir_policy::status(&self.planner, time));
        match round {
            Ok(round) => {
                let all = now.elapsed();
                log::round(&round, total - effort, all);
                // Pauses count from the end: a round that takes long must not be followed by the next one at once.
                self.agenda.done(now, round.next.map(|next| next.saturating_sub(began)));
                let times = Times { plan: planned, kernel: all - planned, all };
                // With nothing new, what an audit changes is what others had changed.
                let drift = audit && !news && self.synchronised;
                self.synchronised = true;
                self.rules_failed = upkeep::rules_failed(&round).unwrap_or(self.rules_failed);
                if !self.taken_over && self.publisher.serves(&round) {
                    self.taken_over = true;
                    takeover::end_nftables_mode(&self.planner.node().capabilities.families);
                }
                let capabilities = &self.planner.node().capabilities;
                self.publisher.ended(&round, capabilities, total, &times, drift);
                self.publisher.answer_health_checks(self.planner.standings(), self.planner.node());
                if let Some(at) = self.planner.next_expiry() {
                    let since_start = Duration::from_secs(at.saturating_sub(self.started_at));
                    self.agenda.expect(self.started + since_start);
                }
                if let Some(at) = self.others.deadline() {
                    self.agenda.expect(at);
                }
                Some(round)
            }
            Err(error) => {
                error!("{error}; nothing was changed, tried again soon");
                self.publisher.unread();
                self.agenda.failed(now);
                None
            }
        }
    }
}
