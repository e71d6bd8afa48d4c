//! Numbers that plugins declare: one family for each name, with the plugin as its label.
//!
//! Families come and go with plugins, which a registry of constant ones cannot do, so they are made when they are read.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc, Describer};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts, Registry};

use super::declare;
use super::plugins::PluginMetrics;

/// What all names begin with, so that no plugin has a name of weir's own.
const PREFIX: &str = "weir_policy_";

/// A number that a plugin declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMetric {
    /// Its name without what all begin with and counters end with, `[a-z][a-z0-9_]*`.
    pub name: String,
    /// What it is.
    pub help: String,
    /// What kind of number it is.
    pub kind: OwnKind,
    /// The number.
    pub value: u128,
}

/// Kinds of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnKind {
    /// It goes up and down.
    Gauge,
    /// It grows until the plugin is loaded anew.
    Counter,
}

impl OwnMetric {
    /// Its family with its one series; the registry puts together those of one name, with the first one's help.
    fn families(&self, plugin: &str) -> Vec<MetricFamily> {
        let options = |end: &str| {
            Opts::new(format!("{PREFIX}{}{end}", self.name), self.help.clone()).const_label("plugin", plugin)
        };
        let value = self.value as f64;
        let families = match self.kind {
            OwnKind::Gauge => Gauge::with_opts(options("")).map(|gauge| {
                gauge.set(value);
                gauge.collect()
            }),
            OwnKind::Counter => Counter::with_opts(options("_total")).map(|counter| {
                counter.inc_by(value);
                counter.collect()
            }),
        };
        // It fails for names and helps that are refused when a plugin is loaded.
        families.unwrap_or_default()
    }
}

/// Those of all plugins, by plugin in the order in which they are asked.
pub(super) struct OwnSeries(Numbers);

type Numbers = Arc<Mutex<Vec<(String, Vec<OwnMetric>)>>>;

impl OwnSeries {
    pub(super) fn new(registry: &Registry) -> OwnSeries {
        let numbers = Numbers::default();
        // A registry knows collectors by what they describe; this stands for all families.
        let title = Opts::new(PREFIX.trim_end_matches('_'), "Numbers that plugins declare.");
        let desc = title.describe().expect("names of metrics are valid");
        declare::register(registry, Families { desc, numbers: Arc::clone(&numbers) });
        OwnSeries(numbers)
    }

    pub(super) fn update(&self, plugins: &[PluginMetrics]) {
        let some = plugins.iter().filter(|plugin| !plugin.own.is_empty());
        let numbers = some.map(|plugin| (plugin.name.clone(), plugin.own.clone())).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

struct Families {
    desc: Desc,
    numbers: Numbers,
}

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let families = |(plugin, own): &(String, Vec<OwnMetric>)| {
            own.iter().flat_map(|metric| metric.families(plugin)).collect::<Vec<_>>()
        };
        numbers.iter().flat_map(families).collect()
    }
}
