//! Weights from the duration of connections at each endpoint, as counted by this node's kernel.
//!
//! ```text
//! active and new connections ─Little's law─▶ time per connection ─▶ share ─▶ × weights of earlier plugins
//! ```
//!
//! A single connection never moves a weight, and the scheduler never changes after the first answer.

use std::time::Duration;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::value::parsed;
use weir_plugin_sdk::weights::said;
use weir_plugin_sdk::{
    Context, Error, Metric, Persistence, Plugin, Port, Protocol, Schedule, Scheduler, Scheduling, Service,
    export,
};

mod metrics;
mod reason;
mod share;

use metrics::{METRICS, Numbers};
use reason::sentence;
use share::{Measured, Shares};

/// The annotation on services that turns the plugin on or off.
const ANNOTATION: &str = "policy.weir/load-aware";

/// Schedulers that spread connections freely, so that `wrr` may replace them. All others tie a client or an address to
/// an endpoint.
const FREE: [&str; 7] = ["default", "rr", "wrr", "lc", "wlc", "sed", "nq"];

/// The plugin.
#[derive(Debug)]
pub struct LoadAware {
    /// Seconds between two samples.
    period: u64,
    /// The age in seconds at which a counted connection is worth 1/e.
    memory: u64,
    /// Whether services without the annotation are weighted.
    default: bool,
    shares: Shares,
}

impl Plugin for LoadAware {
    const NAME: &'static str = "load-aware";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const METRICS: &'static [Metric] = &METRICS;

    fn configure(configuration: &str) -> Result<LoadAware, Vec<String>> {
        Fields::read(configuration, |fields| {
            let period = fields.text("period").unwrap_or(Duration::from_secs(2)).as_secs();
            if !(1..=60).contains(&period) {
                fields.problem("period", format!("is {period} s: write a time from 1s to 60s"));
            }
            let memory = fields.text("memory").unwrap_or(Duration::from_secs(25)).as_secs();
            if !(period..=3600).contains(&memory) {
                fields.problem("memory", format!("is {memory} s: write a time from the period to 1h"));
            }
            let default = fields.text("default").unwrap_or(true);
            LoadAware { period, memory, default, shares: Shares::take(fields, period) }
        })
    }

    fn needs(&self) -> Vec<String> {
        let statistics = format!("statistics:{}s/{}s", self.period, self.memory);
        vec!["endpoints".to_owned(), statistics, format!("annotation:{ANNOTATION}")]
    }
}

/// Returns why a port is left alone; `None` if it is weighted.
fn left_alone(
    service: &Service,
    port: &Port,
    prior: Option<&Scheduling>,
    context: &Context,
) -> Option<String> {
    let protocol = match port.protocol {
        Protocol::Tcp => None,
        Protocol::Udp => Some("UDP"),
        Protocol::Sctp => Some("SCTP"),
    };
    if let Some(protocol) = protocol {
        return Some(format!(
            "port {} is left alone: IPVS keeps {protocol} entries until a timeout, so they do not measure how long a \
             connection takes",
            port.port
        ));
    }
    let stays = match prior.map(|prior| prior.persistence) {
        Some(Persistence::Off) => false,
        Some(Persistence::On(..)) => true,
        _ => service.affinity_seconds.is_some(),
    };
    if stays {
        return Some(format!("port {} is left alone: its clients keep their endpoint (affinity)", port.port));
    }
    let scheduler = prior.and_then(|prior| prior.scheduler.as_deref()).unwrap_or("default");
    if !FREE.contains(&scheduler) {
        return Some(format!("port {} is left alone: its scheduler is {scheduler}", port.port));
    }
    let has = context.schedulers.is_empty() || context.schedulers.iter().any(|known| known == "wrr");
    (!has).then(|| format!("port {} is left alone: this kernel has no scheduler wrr", port.port))
}

impl Scheduler for LoadAware {
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error> {
        let wanted = match parsed::<bool>(&service.annotations, ANNOTATION) {
            Ok(wanted) => wanted.unwrap_or(self.default),
            Err(malformed) => return Ok(Schedule::keep().because(malformed.to_string())),
        };
        if !wanted {
            return Ok(Schedule::keep());
        }
        let mut reasons: Vec<String> = Vec::new();
        let mut numbers = Numbers::default();
        let mut schedule = Schedule::each(service.ports.len(), |index| {
            let (port, prior) = (&service.ports[index], prior.ports.get(index));
            if let Some(why) = left_alone(service, port, prior, context) {
                reasons.push(why);
                return Scheduling::default();
            }
            let before = said(prior, &port.endpoints);
            let measured = Measured::of(port, &before);
            let answer = self.shares.weights(port, &before, &measured);
            numbers.add(&self.shares, port, &measured, &answer);
            let (weights, differ) = answer;
            let place = if service.ports.len() > 1 { format!("port {}: ", port.port) } else { String::new() };
            let said = sentence(&self.shares, port, &measured, differ.then_some(&weights));
            reasons.extend(said.map(|said| place + &said));
            // From the start, even before the first sample: while a scheduler changes, the kernel has none.
            Scheduling { scheduler: Some("wrr".to_owned()), ..Scheduling::weights(weights) }
        });
        if schedule.ports.iter().all(|port| *port == Scheduling::default()) {
            schedule.ports.clear();
        }
        reasons.dedup();
        Ok(schedule.because(reasons.join("; ")).with_metrics(numbers.told()))
    }
}

export!(LoadAware: scheduler);

#[cfg(test)]
mod tests;
