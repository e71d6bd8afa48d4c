//! New endpoints get their share gradually.
//!
//! An endpoint that became ready `age` seconds ago gets `(age / window)^(1 / aggression)` of its full share, and at
//! least `min-percent` of it. All arithmetic uses integers, so that a component and a native test agree to the last
//! bit.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::weights::{heeding, proportional, said, scheduling};
use weir_plugin_sdk::{
    Context, Endpoint, Error, Plugin, Port, Schedule, Scheduler, Scheduling, Service, export,
};

/// The number of steps in which an endpoint reaches its share, unless the window is shorter than that many seconds.
const STEPS: u64 = 10;

/// A full share.
const WHOLE: u64 = 1000;

/// The plugin.
#[derive(Debug)]
pub struct SlowStart {
    /// Seconds until an endpoint has its full share.
    window: u64,
    /// 1 = the share grows linearly; more = faster at first. At most 10.
    aggression: u32,
    /// The share with which an endpoint starts, in percent.
    min_percent: u64,
}

impl Plugin for SlowStart {
    const NAME: &'static str = "slow-start";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(configuration: &str) -> Result<SlowStart, Vec<String>> {
        Fields::read(configuration, |fields| {
            let window = fields.text("window").unwrap_or(Duration::from_secs(60)).as_secs();
            if !(1..=86_400).contains(&window) {
                fields.problem("window", format!("is {window} s: write a time from 1s to 24h"));
            }
            let aggression = fields.text("aggression").unwrap_or(1);
            if !(1..=10).contains(&aggression) {
                fields.problem("aggression", format!("is {aggression}: write a whole number from 1 to 10"));
            }
            let min_percent = fields.text("min-percent").unwrap_or(10);
            if !(1..=100).contains(&min_percent) {
                fields
                    .problem("min-percent", format!("is {min_percent}: write a whole number from 1 to 100"));
            }
            SlowStart { window, aggression, min_percent }
        })
    }

    fn needs(&self) -> Vec<String> {
        ["endpoints", "time", "ready-since"].map(str::to_owned).into()
    }
}

impl SlowStart {
    /// Returns the share of an endpoint of this age, in thousandths of a full share.
    fn share(&self, age: u64) -> u64 {
        if age >= self.window {
            return WHOLE;
        }
        // The largest share whose power is no more than age / window.
        let power = |share: u64| u128::from(share).pow(self.aggression) * u128::from(self.window);
        let reached = u128::from(WHOLE).pow(self.aggression) * u128::from(age);
        let (mut low, mut high) = (0, WHOLE);
        while low + 1 < high {
            let middle = low.midpoint(high);
            if power(middle) <= reached { low = middle } else { high = middle }
        }
        low.max(self.min_percent * WHOLE / 100)
    }

    /// Returns how long an endpoint has been ready, if it is not past its window.
    fn young(&self, endpoint: &Endpoint, now: u64) -> Option<u64> {
        let age = now.saturating_sub(endpoint.ready_since?);
        (endpoint.is_used() && age < self.window).then_some(age)
    }

    /// Returns how a port is scheduled, and the seconds until that changes; `None` if no endpoint is slowed.
    fn port(
        &self,
        port: &Port,
        prior: Option<&Scheduling>,
        context: &Context,
        now: u64,
    ) -> Option<(Scheduling, u64)> {
        let ages: Vec<Option<u64>> =
            port.endpoints.iter().map(|endpoint| self.young(endpoint, now)).collect();
        let oldest = ages.iter().flatten().max()?;
        let is_new = |(endpoint, age): (&Endpoint, &Option<u64>)| !endpoint.is_used() || age.is_some();
        // No endpoint could take more in the meantime.
        if port.endpoints.iter().zip(&ages).all(is_new) {
            return None;
        }
        let shares = ages.iter().map(|age| age.map_or(WHOLE, |age| self.share(age)));
        let weights: Vec<u64> = said(prior, &port.endpoints)
            .into_iter()
            .zip(shares)
            .map(|(weight, share)| u64::from(weight) * share)
            .collect();
        let next = self.window.div_ceil(STEPS).min(self.window - oldest);
        Some((scheduling(prior, context, proportional(&weights)), next))
    }
}

impl Scheduler for SlowStart {
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error> {
        let now = context.now.ok_or_else(|| Error::Permanent("the context has no time".to_owned()))?;
        let mut young = BTreeSet::new();
        let mut next: Option<u64> = None;
        let schedule = Schedule::each(service.ports.len(), |index| {
            let (port, prior) = (&service.ports[index], prior.ports.get(index));
            let Some((scheduling, again)) = self.port(port, prior, context, now) else {
                return Scheduling { scheduler: heeding(prior, context), ..Scheduling::default() };
            };
            next = Some(next.map_or(again, |next| next.min(again)));
            let slowed = port.endpoints.iter().filter(|endpoint| self.young(endpoint, now).is_some());
            young.extend(slowed.map(|endpoint| endpoint.address));
            scheduling
        });
        let Some(next) = next else { return Ok(schedule) };
        let reason = match young.len() {
            1 => "1 new endpoint gets its share gradually".to_owned(),
            count => format!("{count} new endpoints get their share gradually"),
        };
        Ok(schedule.because(reason).again_after(u32::try_from(next).unwrap_or(u32::MAX)))
    }
}

export!(SlowStart: scheduler);

#[cfg(test)]
mod tests;
