//! Prefers endpoints on this node.

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::weights::{self, Member};
use weir_plugin_sdk::{Context, Endpoint, Error, Plugin, Schedule, Scheduler, Scheduling, Service, export};

/// The plugin is its configuration: `{"keep-percent": 95}`.
pub(crate) struct PreferLocal {
    keep_percent: u32,
}

impl Plugin for PreferLocal {
    const NAME: &'static str = "prefer-local";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    // `Fields` collects all mistakes, including unknown fields, and returns them together.
    fn configure(configuration: &str) -> Result<PreferLocal, Vec<String>> {
        Fields::read(configuration, |fields| {
            let keep_percent = fields.text("keep-percent").unwrap_or(95);
            if !(1..=100).contains(&keep_percent) {
                fields.problem("keep-percent", format!("is {keep_percent}: write a number from 1 to 100"));
            }
            PreferLocal { keep_percent }
        })
    }

    // Only this data is sent, and only its changes cause a new call.
    fn needs(&self) -> Vec<String> {
        vec!["endpoints".to_owned(), "annotation:example.com/prefer-local".to_owned()]
    }
}

impl Scheduler for PreferLocal {
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error> {
        if service.annotations.get("example.com/prefer-local").map(String::as_str) != Some("true") {
            return Ok(Schedule::keep());
        }
        let schedule = Schedule::each(service.ports.len(), |index| {
            let endpoints = &service.ports[index].endpoints;
            let here = |endpoint: &Endpoint| endpoint.local && endpoint.is_used();
            if !endpoints.iter().any(here) {
                return Scheduling::default();
            }
            let member = |endpoint: &Endpoint| Member {
                group: if endpoint.local { 0 } else { 1 },
                counts: endpoint.is_used().into(),
            };
            let members: Vec<Member> = endpoints.iter().map(member).collect();
            let mut weights = weights::shared(&members, &[self.keep_percent, 100 - self.keep_percent]);
            // External VIPs may have no endpoint on this node.
            weights::spare(&mut weights, endpoints);
            weights::scheduling(prior.ports.get(index), context, weights)
        });
        Ok(schedule.because(format!("{} % of the traffic stays on {}", self.keep_percent, context.node)))
    }
}

export!(PreferLocal: scheduler);
