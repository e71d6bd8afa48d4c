//! Answers `weir status` with the loop's last report. A request never waits for the loop, so the answer also reveals
//! a loop that hangs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_core::net::Family;
use weir_daemon::{Overview, Warning};
use weir_policy::configuration::Mode;
use weir_policy::{Condition, Replacement};
use weir_serve::{ContentType, Health, Moment, Page};
use weir_watch::Account;

use crate::cli::version;
use crate::inputs::{self, Settings};
use crate::status::advice::urgent;
use crate::status::way::Journey;
use crate::status::{
    self, Advice, Backend, Endpoints, LastChange, Leaving, Objects, Pending, Plugin, Reported, Resource,
    Running, Services, Status, Unread,
};

/// How long a change may wait for its round, unless `minSyncPeriod` is long.
const LATE: Duration = Duration::from_secs(10);

/// The status to serve. Clones share it.
#[derive(Clone)]
pub(super) struct Board(Arc<Shared>);

struct Shared {
    /// The constant part of the status.
    base: Status,
    source: String,
    /// Counters of the API server's thread, if there is one.
    account: Option<Arc<Account>>,
    health: Health,
    started: Instant,
    /// How long a change may wait, in seconds.
    late_after: u64,
    told: Mutex<Told>,
}

/// The loop's last report.
#[derive(Default)]
struct Told {
    /// When the loop last ran.
    turned: Option<Instant>,
    overview: Overview,
    plugins: Vec<weir_policy::Status>,
    refused: Vec<String>,
    /// Why new plugins are not active.
    held_back: Option<String>,
    resources: Vec<Resource>,
    /// Health check ports that could not be opened.
    closed_ports: Vec<Advice>,
    /// Why the configuration file cannot be used any more.
    configuration: Option<Advice>,
}

impl Board {
    /// Creates a board without a report.
    pub(super) fn new(
        settings: &Settings,
        families: &[Family],
        source: String,
        account: Option<Arc<Account>>,
        health: Health,
    ) -> Board {
        let base = Status {
            version: version().to_owned(),
            node: settings.node_name.clone(),
            now: inputs::now(),
            backend: Backend::of(settings, families),
            ..Status::default()
        };
        let late_after = settings.proxy.min_sync_period.saturating_mul(2).max(LATE).as_secs();
        let (started, told) = (Instant::now(), Mutex::default());
        Board(Arc::new(Shared { base, source, account, health, started, late_after, told }))
    }

    /// The pages that show the status.
    pub(super) fn pages(&self) -> Vec<Page> {
        let page = |path, content, print: fn(&Status) -> String| {
            let board = self.clone();
            let make = Arc::new(move || print(&board.status()));
            Page { path, content, make }
        };
        vec![
            page(status::JSON_PATH, ContentType::Json, status::to_json),
            page(status::PAGE_PATH, ContentType::Html, status::page::page),
        ]
    }

    pub(super) fn overview(&self, overview: Overview) {
        self.told().overview = overview;
    }

    pub(super) fn plugins(&self, plugins: Vec<weir_policy::Status>) {
        self.told().plugins = plugins;
    }

    /// Records that the loop runs.
    pub(super) fn turned(&self) {
        self.told().turned = Some(Instant::now());
    }

    /// Records plugins and policy files that are not used.
    pub(super) fn refused(&self, refused: &[String]) {
        self.told().refused = refused.to_vec();
    }

    /// Records the outcome of replacing plugins.
    pub(super) fn replaced(&self, replacement: &Replacement) {
        self.told().held_back = match replacement {
            Replacement::Taken { .. } => None,
            Replacement::Held { .. } | Replacement::Broken(_) => Some(replacement.to_string()),
        };
    }

    /// Records whether the configuration file cannot be used any more, and why.
    pub(super) fn configuration_refused(&self, why: Option<String>) {
        let fix = "correct the file: with this file, weir cannot start again";
        self.told().configuration =
            why.map(|why| urgent(format!("the changed configuration file is not used: {why}"), fix));
    }

    /// Records the health check ports that could not be opened.
    pub(super) fn closed_ports(&self, closed: Vec<Advice>) {
        self.told().closed_ports = closed;
    }

    pub(super) fn resources(&self, resources: Vec<Resource>) {
        self.told().resources = resources;
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A panic in the loop leaves it usable: each field is replaced as a whole.
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let shared = &self.0;
        let elapsed = shared.started.elapsed();
        let ago = |time: Duration| shared.base.now + elapsed.saturating_sub(time).as_secs();
        let objects = Objects {
            source: shared.source.clone(),
            resources: self.told().resources.clone(),
            heard: shared.account.as_ref().and_then(|of| of.figures().since_contact).map(ago),
        };
        let late = shared.health.waits_since().map(|since| ago(Moment::now().since(since)));
        let turned = self.told().turned.unwrap_or(shared.started).saturating_duration_since(shared.started);
        let running = self.told().running(shared.base.now);
        let example = self.told().overview.example.clone();
        let journey = example.map(|example| Journey::of(&example.0, &example.1));
        let (turned, late_after) = (shared.base.now + turned.as_secs(), shared.late_after);
        let running = Running { objects, turned, late_since: late, late_after, ..running };
        let now = shared.base.now + elapsed.as_secs();
        Status { now, daemon: Some(running), journey, ..shared.base.clone() }.with_advice()
    }
}

impl Told {
    fn warnings(&self) -> impl Iterator<Item = Advice> {
        let noted = self.configuration.iter().chain(&self.closed_ports).cloned();
        self.overview.warnings.iter().map(advice).chain(noted)
    }

    /// The part reported by the loop; `started` is the start of its clock, in seconds since 1970.
    fn running(&self, started: u64) -> Running {
        let at = |time: Duration| started + time.as_secs();
        let Overview {
            awaits,
            in_step_since,
            last_change,
            pending,
            failing,
            held,
            unread,
            tally,
            draining,
            leaving,
            warnings: _,
            reports,
            example: _,
        } = &self.overview;
        Running {
            started,
            awaits: awaits.map(|awaited| awaited.to_string()),
            in_step_since: in_step_since.map(at),
            last_change: last_change.map(|change| LastChange {
                at: at(change.at),
                took_micros: micros(change.took),
                made: change.made,
            }),
            pending: pending
                .iter()
                .map(|pending| Pending {
                    change: pending.change.clone(),
                    why: pending.why.clone(),
                    needs: pending.kind.into(),
                    since: at(pending.since),
                    others: pending.others,
                })
                .collect(),
            failing: *failing,
            held: *held,
            unread: unread
                .as_ref()
                .map(|(since, error)| Unread { why: error.to_string(), since: at(*since) }),
            services: Services {
                total: tally.services,
                ignored: tally.ignored,
                without_endpoints: tally.without_endpoints,
            },
            endpoints: Endpoints {
                ready: tally.ready,
                terminating: tally.terminating,
                unready: tally.unready,
                draining: *draining,
            },
            leaving: leaving
                .iter()
                .map(|leaving| Leaving {
                    virtual_server: leaving.server.to_string(),
                    real_server: leaving.real.to_string(),
                    since: at(leaving.since),
                    deadline: leaving.deadline.map(at),
                })
                .collect(),
            warnings: self.warnings().collect(),
            reports: reports
                .iter()
                .map(|(reason, reported)| Reported {
                    reason: reason.to_string(),
                    services: reported.services,
                    service: reported.example.service.to_string(),
                    message: reported.example.message.clone(),
                })
                .collect(),
            plugins: self.plugins.iter().map(plugin).collect(),
            refused: self.refused.iter().chain(&self.held_back).cloned().collect(),
            ..Running::default()
        }
    }
}

fn advice(warning: &Warning) -> Advice {
    Advice { urgent: warning.is_urgent(), what: warning.to_string(), fix: warning.fix().to_owned() }
}

fn plugin(status: &weir_policy::Status) -> Plugin {
    let weir_policy::Status { name, mode, facts, account, condition, .. } = status;
    Plugin {
        name: name.clone(),
        component: facts.name.clone(),
        version: facts.version.clone(),
        digest: facts.digest.to_string(),
        shadow: *mode == Mode::Shadow,
        suspended: match condition {
            Condition::Ready => None,
            Condition::Suspended(_) => Some(Plugin::SUSPENDED.to_owned()),
            Condition::GivenUp => Some(Plugin::GIVEN_UP.to_owned()),
        },
        calls: account.calls,
        asked: account.asked,
        remembered: account.remembered,
        failures: account.failures.values().sum(),
        fallbacks: account.fallbacks,
        micros: micros(account.time),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(flag: &str) -> Board {
        let settings = inputs::example(&[flag]);
        Board::new(
            &settings,
            &[Family::V4],
            "a folder".to_owned(),
            None,
            Health::new(Duration::from_secs(30)),
        )
    }

    #[test]
    fn warnings_from_everywhere_are_in_the_status_while_they_last() {
        let board = board("--ipvs-sync-period=30s");
        let warnings = || -> Vec<String> {
            board.status().daemon.unwrap().warnings.into_iter().map(|warning| warning.what).collect()
        };
        board.overview(Overview { warnings: vec![Warning::NodesUnlisted], ..Overview::default() });
        board.configuration_refused(Some("mode: must be ipvs".to_owned()));
        board.closed_ports(vec![urgent("a port", "a fix")]);
        assert_eq!(
            warnings(),
            [
                Warning::NodesUnlisted.to_string(),
                "the changed configuration file is not used: mode: must be ipvs".to_owned(),
                "a port".to_owned(),
            ]
        );
        board.overview(Overview::default());
        board.configuration_refused(None);
        board.closed_ports(Vec::new());
        assert_eq!(warnings(), Vec::<String>::new());
    }

    #[test]
    fn a_change_may_wait_longer_if_rounds_are_rare() {
        let late_after = |flag| board(flag).status().daemon.unwrap().late_after;
        assert_eq!(late_after("--ipvs-min-sync-period=1s"), 10);
        assert_eq!(late_after("--ipvs-min-sync-period=20s"), 40);
    }
}
