//! Scheduler, flags, persistence, weights and drain.

use std::time::Duration;

use weir_plugin_sdk::value::FromText;
use weir_plugin_sdk::{Context, Drain, Schedule, Scheduling, Service, weights};

use crate::persistence::Wanted;
use crate::reader::{Dialect, Reader, listed};
use crate::weights::Weighing;

/// The longest scheduler name of the kernel.
const SCHEDULER_BYTES: usize = 15;

pub(crate) fn schedule(
    reader: &mut Reader<'_>,
    service: &Service,
    prior: &Schedule,
    context: &Context,
) -> Schedule {
    let choice = Choice::read(reader);
    let persistence = reader.parsed::<Wanted>("policy.weir/persistence");
    let drain = reader.read(Dialect::Weir, "policy.weir/drain", drain);
    let weighing = Weighing::read(reader, service);
    let mut schedule = Schedule::each(service.ports.len(), |index| {
        let port = &service.ports[index];
        let before = prior.ports.get(index).cloned().unwrap_or_default();
        let chosen = Scheduling {
            scheduler: choice.scheduler.clone(),
            scheduler_flags: choice.flags.clone(),
            persistence: persistence.map(|wanted| wanted.of(port.family)).unwrap_or_default(),
            ..Scheduling::default()
        };
        let Some(weights) = weighing.of(reader, service, port) else { return chosen };
        // The weights apply to the scheduler that the annotations chose, else to the previous one.
        let effective = Scheduling {
            scheduler: chosen.scheduler.clone().or(before.scheduler),
            scheduler_flags: chosen.scheduler_flags.clone().or(before.scheduler_flags),
            ..Scheduling::default()
        };
        let heeding = weights::scheduling(Some(&effective), context, weights);
        Scheduling {
            scheduler: heeding.scheduler.or(chosen.scheduler),
            scheduler_flags: heeding.scheduler_flags.or(chosen.scheduler_flags),
            persistence: chosen.persistence,
            weights: heeding.weights,
        }
    });
    if schedule.ports.iter().all(|port| *port == Scheduling::default()) {
        schedule.ports.clear();
    }
    schedule.drain = drain;
    reader.name_what_has_no_effect();
    schedule.because(reader.reason())
}

/// The scheduler and its flags, from the first dialect that sets one: weir, kube-router, Cilium.
#[derive(Debug, Default)]
struct Choice {
    scheduler: Option<String>,
    flags: Option<Vec<String>>,
}

impl Choice {
    fn read(reader: &mut Reader<'_>) -> Choice {
        let scheduler = reader.read(Dialect::Weir, "policy.weir/scheduler", scheduler);
        let flags = reader.read(Dialect::Weir, "policy.weir/scheduler-flags", flags);
        if scheduler.is_some() || flags.is_some() {
            return Choice { scheduler, flags };
        }
        if let Some(choice) = Choice::of_kube_router(reader) {
            return choice;
        }
        let scheduler = reader.read(Dialect::Cilium, "service.cilium.io/lb-algorithm", |text| {
            match text.trim().to_ascii_lowercase().as_str() {
                "maglev" => Ok("mh".to_owned()),
                // The kernel has no random scheduler; `rr` is as even.
                "random" => Ok("rr".to_owned()),
                _ => Err(listed(&["random", "maglev"])),
            }
        });
        Choice { scheduler, flags: None }
    }

    fn of_kube_router(reader: &mut Reader<'_>) -> Option<Choice> {
        let scheduler = reader.read(Dialect::KubeRouter, "kube-router.io/service.scheduler", scheduler);
        let key = "kube-router.io/service.schedflags";
        let flags = reader.read(Dialect::KubeRouter, key, kube_router_flags);
        if scheduler.as_deref() != Some("mh") {
            if flags.is_some() {
                reader.complain(format!("{key} applies only to the scheduler mh, as in kube-router"));
            }
            return scheduler.map(|scheduler| Choice { scheduler: Some(scheduler), flags: None });
        }
        // kube-router hashes no port unless configured; weir does by default.
        Some(Choice { scheduler, flags: Some(flags.unwrap_or_else(|| vec!["fallback".to_owned()])) })
    }
}

/// Accepts any valid module name: weir itself reports a scheduler that the kernel lacks.
fn scheduler(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=SCHEDULER_BYTES).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a scheduler of the kernel like `rr`, `lc` or `mh`".to_owned())
    }
}

fn flags(text: &str) -> Result<Vec<String>, String> {
    let known = ["fallback", "port", "one-packet"];
    let flags = Vec::<String>::from_text(text).unwrap_or_else(|_| vec![String::new()]);
    let fits = flags.iter().all(|flag| known.contains(&flag.as_str()));
    if fits { Ok(flags) } else { Err(format!("any of {}, separated by commas", listed(&known))) }
}

/// The kernel's numbered flags, with their meaning for `mh`.
fn kube_router_flags(text: &str) -> Result<Vec<String>, String> {
    let flag = |item: &str| match item.trim() {
        "flag-1" => Some("fallback".to_owned()),
        "flag-2" => Some("port".to_owned()),
        _ => None,
    };
    let flags: Option<Vec<String>> =
        if text.trim().is_empty() { Some(Vec::new()) } else { text.split(',').map(flag).collect() };
    flags.ok_or_else(|| format!("any of {}, separated by commas", listed(&["flag-1", "flag-2"])))
}

fn drain(text: &str) -> Result<Drain, String> {
    match text.trim() {
        "until-idle" => Ok(Drain::UntilIdle),
        "at-once" => Ok(Drain::AtOnce),
        text => {
            let time = Duration::from_text(text).ok().map(|time| time.as_secs());
            let seconds = time.and_then(|seconds| u32::try_from(seconds).ok());
            let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
            seconds
                .map(Drain::UntilDeadline)
                .ok_or_else(|| "`until-idle`, `at-once`, or a time from 1s to 24h like `5m`".to_owned())
        }
    }
}
