//! Limits on schedules.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{Context, Drain, Persistence, Schedule, Scheduling, Service, Weights};

use crate::reason;

/// Allowed schedules; `None` = all.
#[derive(Debug, Default)]
pub(crate) struct ScheduleLimits {
    schedulers: Option<Vec<String>>,
    flags: Option<Vec<String>>,
    weights: Option<bool>,
    /// Seconds.
    longest_persistence: Option<u32>,
    /// Seconds.
    longest_drain: Option<u32>,
    drains: Option<Vec<String>>,
}

const FLAGS: [&str; 3] = ["fallback", "port", "one-packet"];
const DRAINS: [&str; 3] = ["until-idle", "until-deadline", "at-once"];

impl ScheduleLimits {
    pub(crate) fn take(fields: &mut Fields) -> ScheduleLimits {
        ScheduleLimits {
            schedulers: fields.texts("schedulers"),
            flags: words(fields, "scheduler-flags", &FLAGS),
            weights: fields.text("weights"),
            longest_persistence: seconds(fields, "longest-persistence", 0),
            longest_drain: seconds(fields, "longest-drain", 1),
            drains: words(fields, "drains", &DRAINS),
        }
    }

    /// Takes back what exceeds the limits.
    pub(crate) fn guard(&self, service: &Service, prior: &Schedule, context: &Context) -> Schedule {
        let mut taken = BTreeSet::new();
        let mut answer = Schedule {
            ports: prior.ports.iter().map(|port| self.port(port, context, &mut taken)).collect(),
            drain: prior.drain.as_ref().and_then(|drain| self.drain(drain, &mut taken)),
            ..Schedule::keep()
        };
        if answer.ports.iter().all(|port| *port == Scheduling::default()) {
            answer.ports.clear();
        }
        answer.because(reason(service, taken))
    }

    /// Returns the replacement for the answer about a port; allowed parts are kept.
    fn port(&self, said: &Scheduling, context: &Context, taken: &mut BTreeSet<String>) -> Scheduling {
        let mut answer = Scheduling::default();
        let scheduler = said.scheduler.as_deref().filter(|name| !self.allows_scheduler(name, context));
        if let Some(scheduler) = scheduler {
            taken.insert(format!("scheduler {scheduler}"));
            answer.scheduler = Some("default".to_owned());
            // The default scheduler's own flags; the requested ones belong to the scheduler that was taken back.
            let port = (context.default_scheduler == "mh").then(|| "port".to_owned());
            answer.scheduler_flags = Some(port.into_iter().collect());
        } else if let (Some(allowed), Some(flags)) = (&self.flags, &said.scheduler_flags) {
            let (kept, more): (Vec<String>, Vec<String>) =
                flags.iter().cloned().partition(|flag| allowed.contains(flag));
            if !more.is_empty() {
                taken.extend(more.iter().map(|flag| format!("flag {flag}")));
                answer.scheduler_flags = Some(kept);
            }
        }
        if self.weights == Some(false) && matches!(said.weights, Weights::Each(_)) {
            taken.insert("weights".to_owned());
            answer.weights = Weights::Equal;
        }
        if let (Some(longest), Persistence::On(seconds, prefix)) =
            (self.longest_persistence, said.persistence)
            && seconds > longest
        {
            taken.insert(format!("persistence of {seconds} s"));
            answer.persistence =
                if longest == 0 { Persistence::SessionAffinity } else { Persistence::On(longest, prefix) };
        }
        answer
    }

    /// The configured scheduler is always allowed, because every other one falls back to it.
    fn allows_scheduler(&self, name: &str, context: &Context) -> bool {
        name == "default"
            || name == context.default_scheduler
            || self.schedulers.as_ref().is_none_or(|allowed| allowed.iter().any(|known| known == name))
    }

    fn drain(&self, said: &Drain, taken: &mut BTreeSet<String>) -> Option<Drain> {
        let mode = match said {
            Drain::UntilIdle => "until-idle",
            Drain::UntilDeadline(_) => "until-deadline",
            Drain::AtOnce => "at-once",
            Drain::Other(mode) => mode,
        };
        // The default is always allowed, like the default scheduler.
        if mode != "until-idle"
            && self.drains.as_ref().is_some_and(|drains| !drains.iter().any(|known| known == mode))
        {
            taken.insert(format!("drain {mode}"));
            return Some(Drain::UntilIdle);
        }
        match (said, self.longest_drain) {
            (Drain::UntilDeadline(seconds), Some(longest)) if *seconds > longest => {
                taken.insert(format!("drain of {seconds} s"));
                Some(Drain::UntilDeadline(longest))
            }
            _ => None,
        }
    }
}

fn words(fields: &mut Fields, key: &str, known: &[&str]) -> Option<Vec<String>> {
    let words: Option<Vec<String>> = fields.texts(key);
    for word in words.iter().flatten().filter(|word| !known.contains(&word.as_str())) {
        fields.problem(key, format!("names `{word}`: write any of {}", known.join(", ")));
    }
    words
}

fn seconds(fields: &mut Fields, key: &str, least: u32) -> Option<u32> {
    let time: Duration = fields.text(key)?;
    let seconds = u32::try_from(time.as_secs()).ok().filter(|seconds| (least..=86_400).contains(seconds));
    if seconds.is_none() {
        fields.problem(key, format!("is {} s: write a time from {least}s to 24h", time.as_secs()));
    }
    seconds
}
