//! What the daemon publishes: health over HTTP, metrics, and Kubernetes Events.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use tracing::warn;
use weir_core::causes::with_causes;
use weir_core::cluster::Event;
use weir_core::diff::Change;
use weir_core::kernel::{FailureKind, with_change};
use weir_core::net::Family;
use weir_core::node::NodeView;
use weir_core::objects::ObjectName;
use weir_core::report::{Reason, Report};
use weir_core::standing::{HealthCheck, Scope};
use weir_daemon::{Done, Reported, Warning};
use weir_kernel::linux::{Effort, Forgotten};
use weir_serve::{
    BindFailure, BuildInfo, Health, HealthCheckPorts, KernelWork, ListenAddresses, Metrics, Moment,
    NodeState, Options, RequestOutcome, RoundResult, Server, StartError, Step,
};
use weir_watch::{Account, Note, Recorder, Regarding, Resource, Severity};

use super::board::Board;
use super::log;
use crate::inputs::Settings;
use crate::status::advice::urgent;

mod plugins;
#[cfg(test)]
mod tests;

/// The reasons of Events that kube-proxy also emits (`cmd/kube-proxy/app/server.go`, `pkg/proxy/healthcheck`).
const KUBE_PROXY_SAYS: [&str; 4] = [
    "Starting",
    "FailedToStartProxierHealthcheck",
    "FailedToStartMetricServer",
    "FailedToStartServiceHealthcheck",
];

/// The reasons of reports that `install/monitoring/rules.yaml` has alerts for; they always have a metric.
const ALERTED: [Reason; 2] = [Reason::DecisionClamped, Reason::PolicyFailed];

/// The most health check ports that `weir status` shows because they could not be opened.
const SHOWN_PORTS: usize = 20;

/// The annotation of an EndpointSlice with the time of the change that caused it.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Publishes the daemon's state without ever blocking the loop.
pub(super) struct Publisher {
    health: Health,
    pub(super) metrics: Metrics,
    /// Declared before the server, whose thread serves its sockets.
    ports: Option<HealthCheckPorts>,
    /// Serves until it is dropped.
    _server: Option<Server>,
    recorder: Option<Recorder>,
    node: String,
    families: Vec<Family>,
    since: SystemTime,
    /// The times of measured changes that are not yet in the kernel.
    triggers: Vec<(Family, SystemTime)>,
    pending: Pending,
    /// The health checks of load balancers, and their answers.
    checks: BTreeMap<ObjectName, HealthCheck>,
    check_addresses: BTreeSet<IpAddr>,
    /// Health check ports that could not be opened, as told.
    closed: BTreeSet<String>,
}

/// Changes that arrived and are not yet in a plan.
#[derive(Default)]
struct Pending {
    services: u64,
    slices: u64,
}

impl Publisher {
    /// Opens the ports that stay open while the daemon runs; opens nothing for a single round.
    pub(super) fn start(
        settings: &Settings,
        families: &[Family],
        recorder: Option<Recorder>,
        account: Option<Arc<Account>>,
        health: Health,
        board: &Board,
        served: bool,
    ) -> anyhow::Result<Publisher> {
        let configuration = &settings.configuration;
        let metrics = Metrics::new(&build_info());
        account.into_iter().for_each(|account| follow(&metrics, account));
        let mut publisher = Publisher {
            health: health.clone(),
            metrics: metrics.clone(),
            ports: None,
            _server: None,
            recorder,
            node: settings.node_name.clone(),
            families: families.to_vec(),
            since: SystemTime::now(),
            triggers: Vec::new(),
            pending: Pending::default(),
            checks: BTreeMap::new(),
            check_addresses: BTreeSet::new(),
            closed: BTreeSet::new(),
        };
        if served {
            let hard = configuration.bind_address_hard_fail();
            let options = Options {
                health: configuration.healthz_bind_address().into_iter().collect(),
                metrics: configuration.metrics_bind_address().into_iter().collect(),
                bind_failure: if hard { BindFailure::Fail } else { BindFailure::RETRY },
                proxy_mode: "ipvs".to_owned(),
                configuration: configuration.effective(),
                pages: board.pages(),
                limits: Default::default(),
            };
            let server =
                Server::start(options, health, metrics).inspect_err(|error| publisher.not_started(error));
            let server = server.context("cannot serve health and metrics")?;
            publisher.ports = Some(server.health_check_ports());
            publisher._server = Some(server);
        }
        Ok(publisher)
    }

    fn not_started(&self, error: &StartError) {
        let reason = match error {
            StartError::Health(_) => "FailedToStartProxierHealthcheck",
            StartError::Metrics(_) => "FailedToStartMetricServer",
            StartError::Thread(_) => return,
        };
        self.about_node(Severity::Warning, reason, "StartKubeProxy", with_causes(error));
    }

    /// Publishes that the loop starts, and which parts of the policy file are not used.
    pub(super) fn begin(&self, refused: &[String]) {
        for family in &self.families {
            self.health.updated(*family, Moment::now());
            self.metrics.proxy.queued(*family, SystemTime::now());
        }
        self.about_node(Severity::Normal, "Starting", "StartKubeProxy", String::new());
        self.refused(refused, refused.len());
    }

    /// Publishes that a round was requested.
    pub(super) fn requested(&self) {
        for family in &self.families {
            self.health.queued(*family, Moment::now());
            self.metrics.proxy.queued(*family, SystemTime::now());
        }
    }

    /// Publishes that an object changed.
    pub(super) fn heard(&mut self, event: &Event) {
        match event {
            Event::Node(node) => {
                let keys = node.taints.iter().map(|taint| taint.split(['=', ':']).next().unwrap_or_default());
                self.health.node(NodeState::of(node.deleting.then_some(()), keys));
            }
            Event::NodeGone => self.health.node(NodeState::Unknown),
            Event::Service(_) | Event::ServiceGone(_) => {
                // kube-proxy counts once per family that it serves.
                self.metrics.proxy.service_changes(self.families.len() as u64);
                self.pending.services += 1;
                self.metrics.proxy.service_changes_pending(self.pending.services);
            }
            Event::Slice(slice) => {
                let trigger = slice.annotations.get(TRIGGER).and_then(|text| weir_k8s::parse_time(text));
                self.triggers.extend(trigger.filter(|at| *at > self.since).map(|at| (slice.family, at)));
                self.slice_changed();
            }
            Event::SliceGone(_) => self.slice_changed(),
            Event::AnyNode(_)
            | Event::AnyNodeGone(_)
            | Event::Namespace(_)
            | Event::NamespaceGone(_)
            | Event::Endpoints(_)
            | Event::EndpointsGone(_) => {}
        }
    }

    fn slice_changed(&mut self) {
        self.metrics.proxy.endpoint_changes(1);
        self.pending.slices += 1;
        self.metrics.proxy.endpoint_changes_pending(self.pending.slices);
    }

    /// Publishes that all changes so far are in the plan. `stranded` is the number of services with traffic that must
    /// stay on this node but has no endpoint here, by policy and family.
    pub(super) fn planned(&mut self, stranded: &BTreeMap<(Scope, Family), u64>) {
        self.pending = Pending::default();
        self.metrics.proxy.service_changes_pending(0);
        self.metrics.proxy.endpoint_changes_pending(0);
        for family in &self.families {
            for scope in [Scope::Internal, Scope::External] {
                let services = stranded.get(&(scope, *family)).copied().unwrap_or_default();
                self.metrics.proxy.no_local_endpoints(scope, *family, services);
            }
        }
    }

    /// Reports something that a service's owner should know.
    pub(super) fn report(&self, report: &Report) {
        warn!(service = %report.service, reason = %report.reason, "{}", report.message);
        let severity = match report.reason {
            Reason::ServiceIgnored | Reason::VipRefused | Reason::ShadowDifference => Severity::Normal,
            _ => Severity::Warning,
        };
        let (regarding, reason) = (about(&report.service), report.reason.as_str());
        self.note(regarding, severity, reason, "Plan", report.message.clone());
    }

    /// Publishes how many services have a report now, by reason.
    pub(super) fn reported(&self, reports: &BTreeMap<Reason, Reported>) {
        let none = ALERTED.map(|reason| (reason.as_str(), 0));
        let some = reports.iter().map(|(reason, of)| (reason.as_str(), of.services as u64));
        self.metrics.rounds.reported(&none.into_iter().chain(some).collect());
    }

    /// Publishes the warnings in force.
    pub(super) fn warned(&self, warnings: &[Warning]) {
        let mut counts: BTreeMap<&str, u64> = [("HealthCheckPort", self.closed.len() as u64)].into();
        warnings.iter().for_each(|warning| *counts.entry(warning.reason()).or_default() += 1);
        self.metrics.rounds.warned(&counts);
    }

    /// Publishes that the loop runs.
    pub(super) fn turned(&self) {
        self.metrics.rounds.turned(SystemTime::now());
    }

    /// Publishes the results of a round; `effort` is the total since the start.
    pub(super) fn ended(&mut self, done: &Done, effort: Effort) {
        let Done { round, drift, planning, kernel } = done;
        let result = if round.succeeded() { RoundResult::Succeeded } else { RoundResult::Partial };
        self.metrics.rounds.ended(result);
        self.metrics.rounds.took(Step::Plan, *planning);
        self.metrics.rounds.took(Step::Apply, *kernel);
        let Effort { messages, sends, processes, .. } = effort;
        self.metrics.rounds.kernel_work(KernelWork { messages, sends, processes });
        self.metrics.rounds.draining(round.waiting.len() as u64);
        if *drift {
            self.metrics.rounds.drift_repaired(round.made() as u64);
        }
        for (change, outcome) in &round.changes {
            let outcome = outcome.as_ref().map(|_| ()).map_err(|failure| failure.kind);
            self.metrics.rounds.changed(change.kind(), outcome);
        }
        for (change, failure) in round.failures() {
            if let Change::WriteRules(rules) = change
                && failure.kind != FailureKind::Postponed
            {
                self.metrics.proxy.restore_failed(rules.family);
            }
        }
        for (change, failure, _) in log::causes(round) {
            let text = with_change(&change.to_string(), &failure.message);
            self.about_node(Severity::Warning, "SynchronisationFailed", "Synchronise", text);
        }
        for family in &self.families {
            self.metrics.proxy.synchronised(*family, *planning + *kernel);
        }
    }

    /// Publishes that the kernel is up to date for a family.
    pub(super) fn up_to_date(&mut self, family: Family) {
        self.health.updated(family, Moment::now());
        self.metrics.proxy.updated(family, SystemTime::now());
        self.programmed(family);
    }

    /// Publishes that a round changed nothing because the kernel could not be read.
    pub(super) fn unread(&self) {
        self.metrics.rounds.ended(RoundResult::Unread);
        self.metrics.rounds.retried();
    }

    fn programmed(&mut self, family: Family) {
        let now = SystemTime::now();
        for (_, at) in self.triggers.extract_if(.., |(of, _)| *of == family) {
            // No negative time if the clock was set back.
            self.metrics.proxy.network_programmed(family, now.duration_since(at).unwrap_or_default());
        }
    }

    /// Serves load balancers on health check ports, for the services that these changes affect.
    pub(super) fn answer_health_checks(
        &mut self,
        changes: BTreeMap<ObjectName, Option<HealthCheck>>,
        node: &NodeView,
        board: &Board,
    ) {
        let Some(ports) = &mut self.ports else { return };
        let addresses = node.health_check_ips();
        if changes.is_empty() && addresses == self.check_addresses && self.closed.is_empty() {
            return;
        }
        for (service, check) in changes {
            match check {
                None => self.checks.remove(&service),
                Some(check) => self.checks.insert(service, check),
            };
        }
        self.check_addresses.clone_from(&addresses);
        let wanted = &self.checks;
        let failures = ports.sync(&ListenAddresses::Only(addresses), wanted);
        let (told, mut advice) = (std::mem::take(&mut self.closed), Vec::new());
        for failure in failures {
            let service = &failure.service;
            let port = wanted.get(service).map_or(0, |check| check.port);
            let cause = with_causes(&failure.source);
            let text = format!(
                "node {} failed to start healthcheck \"{service}\" on port {port}: {cause}",
                self.node
            );
            let what = format!("the health check port {port} of {service} cannot be opened: {cause}");
            advice.push(urgent(what, "find the program that uses the port: `ss -lntp`"));
            self.closed.insert(text.clone());
            if told.contains(&text) {
                continue;
            }
            warn!("{text}");
            let reason = "FailedToStartServiceHealthcheck";
            self.note(about(service), Severity::Warning, reason, "Listen", text);
        }
        advice.truncate(SHOWN_PORTS);
        board.closed_ports(advice);
    }

    /// Publishes that contact with the API server was lost for a resource.
    pub(super) fn lost(&self, resource: Resource) {
        self.metrics.client.watch_failed(match resource {
            Resource::Services => weir_serve::Resource::Services,
            Resource::EndpointSlices => weir_serve::Resource::EndpointSlices,
            Resource::OwnNode | Resource::Nodes => weir_serve::Resource::Nodes,
            Resource::Namespaces => weir_serve::Resource::Namespaces,
        });
    }

    /// Publishes how many UDP flows were deleted.
    pub(super) fn forgotten(&self, searches: &[Forgotten]) {
        for Forgotten { family, took, flows } in searches {
            self.metrics.proxy.flows_forgotten(*family, *took, *flows);
        }
    }

    fn about_node(&self, severity: Severity, reason: &str, action: &str, text: String) {
        let regarding = Regarding {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: String::new(),
            name: self.node.clone(),
        };
        self.note(regarding, severity, reason, action, text);
    }

    fn note(&self, regarding: Regarding, severity: Severity, reason: &str, action: &str, text: String) {
        if let Some(recorder) = &self.recorder {
            let controller = if KUBE_PROXY_SAYS.contains(&reason) { "kube-proxy" } else { "weir" };
            let (reason, action) = (reason.to_owned(), action.to_owned());
            recorder.record(Note { controller, regarding, severity, reason, action, text });
        }
    }
}

/// The Service that an Event is about.
fn about(service: &ObjectName) -> Regarding {
    Regarding {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: service.namespace.clone(),
        name: service.name.clone(),
    }
}

/// Publishes the client of the API server whenever metrics are read: a quiet node has no rounds for minutes.
fn follow(metrics: &Metrics, account: Arc<Account>) {
    let start = Instant::now();
    metrics.before_text(move |client| {
        for (request, total) in account.requests() {
            let outcome = request.status.map_or(RequestOutcome::Error, RequestOutcome::Status);
            client.requested(outcome, &request.method, &request.host, total);
        }
        let silent = account.figures().since_contact.unwrap_or_else(|| start.elapsed());
        SystemTime::now().checked_sub(silent).into_iter().for_each(|at| client.contact(at));
    });
}

fn build_info() -> BuildInfo {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    BuildInfo {
        version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
        commit: option_env!("WEIR_COMMIT").unwrap_or_default().to_owned(),
        date: option_env!("WEIR_BUILD_DATE").unwrap_or_default().to_owned(),
        compiler: concat!("rustc ", env!("CARGO_PKG_RUST_VERSION")).to_owned(),
        platform: format!("linux/{architecture}"),
    }
}
