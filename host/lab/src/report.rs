//! Results as text for people, as JSON lines for programs, and as SVG for pages.

use serde_json::{Map, Value, json};

use crate::load::Load;
use crate::outcome::{Outcome, Slice, median};

mod svg;
mod text;

pub use svg::{PlotError, svg};
pub use text::text;

/// One load, run against one policy with each seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// The policy's name.
    pub policy: String,
    /// The load.
    pub load: Load,
    /// One result per seed, at least one.
    pub outcomes: Vec<Outcome>,
}

impl Played {
    /// The median over all seeds; `None` if a seed has no value.
    pub fn median(&self, figure: impl Fn(&Outcome) -> Option<f64>) -> Option<f64> {
        median(self.outcomes.iter().map(figure).collect::<Option<_>>()?)
    }

    /// Whether anything changes over time, so that a timeline is useful.
    fn has_a_course(&self) -> bool {
        let changes = self.load.behaviours.iter().any(|behaviour| !behaviour.changes.is_empty());
        changes || self.outcomes.iter().any(Outcome::weights_move)
    }

    /// Values by the endpoint's address.
    fn by_endpoint<T: Into<Value>>(&self, values: impl IntoIterator<Item = T>) -> Value {
        let addresses = self.load.addresses.iter().map(ToString::to_string);
        Value::Object(addresses.zip(values.into_iter().map(Into::into)).collect::<Map<_, _>>())
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// One JSON object per line for each policy, load and seed: `policy`, `service`, `load`, `seed`, `p50_ms`, `p99_ms`,
/// `p999_ms` (null if nothing was answered), `failed` connections, `spread` between the largest and the smallest
/// share in percentage points, and `share` by endpoint in percent. If something changes over time, `timeline` has
/// about sixty points with `until_s` since the start of the warm-up, `p99_ms`, and `weight` and `share` by endpoint.
pub fn json_lines(all: &[Played]) -> String {
    let mut lines = String::new();
    for played in all {
        for outcome in &played.outcomes {
            lines += &json_line(played, outcome).to_string();
            lines.push('\n');
        }
    }
    lines
}

fn json_line(played: &Played, outcome: &Outcome) -> Value {
    let percentile = |part| outcome.percentile(part).map(rounded);
    let mut line = json!({
        "policy": played.policy,
        "service": played.load.service,
        "load": played.load.rate.to_string(),
        "seed": outcome.seed,
        "p50_ms": percentile(0.5),
        "p99_ms": percentile(0.99),
        "p999_ms": percentile(0.999),
        "failed": outcome.failed,
        "spread": rounded(outcome.spread()),
        "share": played.by_endpoint(outcome.shares().into_iter().map(rounded)),
    });
    if played.has_a_course() {
        let point = |slice: &Slice| {
            json!({
                "until_s": slice.until.as_secs_f64(),
                "p99_ms": slice.p99.map(rounded),
                "weight": played.by_endpoint(slice.weights.iter().map(|weight| weight.map(rounded))),
                "share": played.by_endpoint(slice.shares().into_iter().map(rounded)),
            })
        };
        line["timeline"] = outcome.timeline.iter().map(point).collect();
    }
    line
}

#[cfg(test)]
mod tests;
