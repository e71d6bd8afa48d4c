//! The metrics: exactly kube-proxy's, and weir's own.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Encoder, GaugeVec, IntGaugeVec, Opts, Registry, TextEncoder};

use self::client::ClientMetrics;
use self::plugins::{PluginMetrics, PluginSeries};
use self::process::Process;
use self::proxy::ProxyMetrics;
use self::rounds::RoundMetrics;
use self::slis::Slis;

pub(crate) mod client;
mod declare;
pub(crate) mod own;
pub(crate) mod plugins;
mod process;
pub(crate) mod proxy;
pub(crate) mod rounds;
mod slis;

/// Build information for `kubernetes_build_info`. Labels without a meaning for weir stay empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version, such as `v0.1.0`.
    pub version: String,
    /// The commit, in full.
    pub commit: String,
    /// The build date, as RFC 3339.
    pub date: String,
    /// The compiler and its version.
    pub compiler: String,
    /// Such as `linux/amd64`.
    pub platform: String,
}

/// Sets metrics when they are read.
type Refresh = Box<dyn Fn(&ClientMetrics) + Send>;

/// All metrics. Clones share their state. As in kube-proxy, a series appears with the first value of its labels.
#[derive(Clone)]
pub struct Metrics {
    /// kube-proxy's metrics.
    pub proxy: ProxyMetrics,
    /// Rounds, changes and their cost.
    pub rounds: RoundMetrics,
    /// The client of the API server.
    pub client: ClientMetrics,
    plugins: Arc<Mutex<PluginSeries>>,
    configuration: IntGaugeVec,
    refresh: Arc<Mutex<Option<Refresh>>>,
    registry: Registry,
    pub(crate) slis: Slis,
}

impl Metrics {
    /// Metrics without any counts.
    pub fn new(build: &BuildInfo) -> Metrics {
        let registry = Registry::new();
        declare::register(&registry, Process::new());
        build_info(&registry, build);
        let configuration = Opts::new(
            "weir_configuration_not_taken",
            "1 if the changed configuration file cannot be used, so that the previous configuration stays in use.",
        );
        let metrics = Metrics {
            proxy: ProxyMetrics::new(&registry),
            rounds: RoundMetrics::new(&registry),
            client: ClientMetrics::new(&registry),
            plugins: Arc::new(Mutex::new(PluginSeries::new(&registry))),
            configuration: declare::levels(&registry, configuration, &[]),
            refresh: Arc::default(),
            slis: Slis::new(),
            registry,
        };
        metrics.configuration_refused(false);
        metrics
    }

    /// Sets the counts of all plugins after a round. Counts start when a plugin is loaded; a count that falls belongs
    /// to a reloaded plugin, and the exported count continues from its previous value. The series of plugins that are
    /// no longer named are removed.
    pub fn plugins(&self, plugins: &[PluginMetrics]) {
        self.series().update(plugins);
    }

    /// Counts an attempt to replace plugins.
    pub fn reloaded(&self, result: plugins::ReloadResult) {
        self.series().reloaded(result);
    }

    /// Records that counters were read for plugins: for how many services this succeeded and failed, and how long it
    /// took.
    pub fn sampled(&self, read: u64, failed: u64, time: std::time::Duration) {
        self.series().sampled(read, failed, time);
    }

    /// Sets how many plugins of the policy file could not be loaded; 1 if the whole file could not be used.
    pub fn refused(&self, plugins: u64) {
        self.series().refused(plugins);
    }

    /// Sets whether the changed configuration file cannot be used.
    pub fn configuration_refused(&self, refused: bool) {
        self.configuration.with_label_values::<&str>(&[]).set(i64::from(refused));
    }

    /// Calls this before each exposition, to set metrics that change between rounds. Replaces an earlier function.
    pub fn before_text(&self, refresh: impl Fn(&ClientMetrics) + Send + 'static) {
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(refresh));
    }

    /// The exposition format of Prometheus, version 0.0.4, sorted by name.
    pub fn text(&self) -> String {
        if let Some(refresh) = &*self.refresh.lock().unwrap_or_else(PoisonError::into_inner) {
            refresh(&self.client);
        }
        text(&self.registry)
    }

    fn series(&self) -> std::sync::MutexGuard<'_, PluginSeries> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(registry: &Registry) -> String {
    let mut text = Vec::new();
    // Encoding fails for a family without metrics, which the registry leaves out, and on write errors, which a Vec does
    // not have.
    let _ = TextEncoder::new().encode(&registry.gather(), &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// A gauge of constant value with informative labels (`staging/src/k8s.io/component-base/metrics/version.go`).
fn build_info(registry: &Registry, build: &BuildInfo) {
    const HELP: &str = "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree \
                        state, build date, Go version, and compiler from which Kubernetes was built, and platform on which \
                        it is running.";
    let labels = [
        "major",
        "minor",
        "git_version",
        "git_commit",
        "git_tree_state",
        "build_date",
        "go_version",
        "compiler",
        "platform",
    ];
    let gauge: GaugeVec = declare::gauges(registry, Opts::new("kubernetes_build_info", HELP), &labels);
    let mut parts = build.version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let BuildInfo { version, commit, date, compiler, platform } = build;
    gauge.with_label_values(&[major, minor, version, commit, "", date, "", compiler, platform]).set(1.0);
}
