//! How connections are spread, and how removed endpoints are drained.

use std::time::Duration;

use weir_core::decision::{Decision, Drain, PortDecision};
use weir_core::objects::ServicePort;
use weir_core::state::{Persistence, SchedulerFlags, Weight};
use weir_core::text::counted;
use weir_core::view::{PortView, ServiceView};

use super::{Answer, Opinion, Patch, metrics, no_extra, reason, shown, supersede, value};
use crate::bindings::scheduler;

/// The answer of one plugin, or of all called so far, about scheduling; `None` = no answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SchedulerPatch {
    /// One per port of the service, or empty.
    pub(super) ports: Vec<PortPatch>,
    pub(super) drain: Option<Drain>,
}

/// The answer about one port.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PortPatch {
    pub(super) scheduler: Option<Scheduler>,
    pub(super) flags: Option<SchedulerFlags>,
    pub(super) persistence: Option<Stay>,
    pub(super) weights: Option<Weights>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scheduler {
    Configured,
    Named(String),
}

/// Whether a client stays with its endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stay {
    SessionAffinity,
    Never,
    For(Persistence),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Weights {
    Equal,
    /// One per endpoint.
    Each(Vec<Weight>),
}

/// The contract's word for the configured scheduler.
const CONFIGURED: &str = "default";

const FLAGS: &[(&str, SchedulerFlags)] = &[
    ("fallback", SchedulerFlags::FALLBACK),
    ("port", SchedulerFlags::PORT),
    ("one-packet", SchedulerFlags::ONE_PACKET),
];

/// The drain modes; `None` = the mode that requires a deadline.
const DRAINS: &[(&str, Option<Drain>)] =
    &[("until-idle", Some(Drain::UntilIdle)), ("until-deadline", None), ("at-once", Some(Drain::AtOnce))];

impl Patch for SchedulerPatch {
    type Wire = scheduler::Schedule;

    fn parse(wire: &scheduler::Schedule, view: &ServiceView) -> Result<Answer<SchedulerPatch>, String> {
        no_extra(&wire.extra)?;
        let ports = wire.ports.as_deref().unwrap_or_default();
        if !ports.is_empty() && ports.len() != view.ports.len() {
            let given = counted(ports.len(), "port");
            return Err(format!("it has {given}, but the service has {}", view.ports.len()));
        }
        let ports = ports.iter().zip(&view.ports).map(|(wire, port)| PortPatch::parse(wire, port));
        let patch = SchedulerPatch {
            ports: ports.collect::<Result<_, _>>()?,
            drain: wire.drain.as_ref().map(drain).transpose()?,
        };
        Ok(Answer {
            patch,
            reason: reason(&wire.reason),
            lifetime: wire.re_evaluate_after,
            metrics: metrics(&wire.metrics),
        })
    }

    fn summary(&self, view: &ServiceView) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (said, port) in self.ports.iter().map(PortPatch::summary).zip(&view.ports) {
            if !said.is_empty() {
                parts.push(format!("{}: {}", port_name(port, view), said.join(", ")));
            }
        }
        if let Some(drain) = self.drain.map(print_drain) {
            let deadline = drain.deadline.map(|seconds| format!(" of {seconds} s")).unwrap_or_default();
            parts.push(format!("drain {}{deadline}", drain.mode));
        }
        parts.join("; ")
    }

    fn fitted(mut self, view: &ServiceView) -> Option<SchedulerPatch> {
        self.ports.iter_mut().for_each(|port| port.weights = None);
        (self.ports.is_empty() || self.ports.len() == view.ports.len()).then_some(self)
    }

    fn add(&self, opinion: &mut Opinion) {
        let prior = &mut opinion.scheduler;
        supersede(&mut prior.drain, &self.drain);
        if prior.ports.is_empty() {
            prior.ports.clone_from(&self.ports);
            return;
        }
        for (prior, port) in prior.ports.iter_mut().zip(&self.ports) {
            supersede(&mut prior.scheduler, &port.scheduler);
            supersede(&mut prior.flags, &port.flags);
            supersede(&mut prior.persistence, &port.persistence);
            supersede(&mut prior.weights, &port.weights);
        }
    }

    fn apply(&self, decision: &mut Decision) {
        if let Some(drain) = self.drain {
            decision.drain = drain;
        }
        for (port, decided) in self.ports.iter().zip(&mut decision.ports) {
            port.apply(decided);
        }
    }
}

impl SchedulerPatch {
    /// The patch as the contract's types.
    pub(crate) fn print(&self) -> scheduler::Schedule {
        scheduler::Schedule {
            // Most services have no earlier opinion, and an absent field costs nothing.
            ports: (!self.ports.is_empty()).then(|| self.ports.iter().map(PortPatch::print).collect()),
            drain: self.drain.map(print_drain),
            reason: None,
            re_evaluate_after: None,
            metrics: None,
            extra: None,
        }
    }
}

impl PortPatch {
    fn parse(wire: &scheduler::Scheduling, port: &PortView) -> Result<PortPatch, String> {
        no_extra(&wire.extra)?;
        if wire.persistence_group.is_some() {
            return Err("persistence groups are reserved for a later version of weir".to_owned());
        }
        let weights = match &wire.weights {
            scheduler::Weights::Keep => None,
            scheduler::Weights::Equal => Some(Weights::Equal),
            scheduler::Weights::Each(each) if each.len() == port.endpoints.len() => {
                Some(Weights::Each(each.iter().map(|weight| Weight(*weight)).collect()))
            }
            scheduler::Weights::Each(each) => {
                let (given, endpoints) = (counted(each.len(), "weight"), port.endpoints.len());
                let endpoints = counted(endpoints, "endpoint");
                return Err(format!("it has {given} for the {endpoints} of port {}", port.port.port));
            }
        };
        Ok(PortPatch {
            scheduler: wire.scheduler.as_deref().map(|name| match name {
                CONFIGURED => Scheduler::Configured,
                name => Scheduler::Named(name.to_owned()),
            }),
            flags: wire.scheduler_flags.as_deref().map(flags).transpose()?,
            persistence: match wire.persistence {
                scheduler::Persistence::Keep => None,
                scheduler::Persistence::SessionAffinity => Some(Stay::SessionAffinity),
                scheduler::Persistence::Off => Some(Stay::Never),
                scheduler::Persistence::On((timeout, prefix)) => {
                    Some(Stay::For(Persistence { timeout, prefix }))
                }
            },
            weights,
        })
    }

    fn print(&self) -> scheduler::Scheduling {
        scheduler::Scheduling {
            scheduler: self.scheduler.as_ref().map(|scheduler| match scheduler {
                Scheduler::Configured => CONFIGURED.to_owned(),
                Scheduler::Named(name) => name.clone(),
            }),
            scheduler_flags: self.flags.map(|flags| flag_words(flags).map(str::to_owned).collect()),
            persistence: match self.persistence {
                None => scheduler::Persistence::Keep,
                Some(Stay::SessionAffinity) => scheduler::Persistence::SessionAffinity,
                Some(Stay::Never) => scheduler::Persistence::Off,
                Some(Stay::For(Persistence { timeout, prefix })) => {
                    scheduler::Persistence::On((timeout, prefix))
                }
            },
            weights: match &self.weights {
                None => scheduler::Weights::Keep,
                Some(Weights::Equal) => scheduler::Weights::Equal,
                Some(Weights::Each(each)) => {
                    scheduler::Weights::Each(each.iter().map(|weight| weight.0).collect())
                }
            },
            persistence_group: None,
            extra: None,
        }
    }

    /// Applies what a plugin requested to the built-in decision about a port: the configured scheduler, the
    /// session affinity and equal weights.
    fn apply(&self, decided: &mut PortDecision) {
        if let Some(Scheduler::Named(name)) = &self.scheduler {
            decided.scheduling.scheduler.clone_from(name);
            decided.scheduling.flags = flags_by_default(name);
        }
        if let Some(flags) = self.flags {
            decided.scheduling.flags = flags;
        }
        match self.persistence {
            None | Some(Stay::SessionAffinity) => {}
            Some(Stay::Never) => decided.scheduling.persistence = None,
            Some(Stay::For(persistence)) => decided.scheduling.persistence = Some(persistence),
        }
        if let Some(Weights::Each(weights)) = &self.weights {
            decided.weights.clone_from(weights);
        }
    }

    fn summary(&self) -> Vec<String> {
        let mut said = Vec::new();
        said.extend(self.scheduler.as_ref().map(|scheduler| match scheduler {
            Scheduler::Configured => format!("scheduler {CONFIGURED}"),
            Scheduler::Named(name) => format!("scheduler {}", shown(name)),
        }));
        said.extend(self.flags.map(|flags| {
            let words: Vec<&str> = flag_words(flags).collect();
            format!("flags [{}]", words.join(" "))
        }));
        said.extend(self.persistence.map(|stay| match stay {
            Stay::SessionAffinity => "persistence from session affinity".to_owned(),
            Stay::Never => "no persistence".to_owned(),
            Stay::For(Persistence { timeout, prefix }) => format!("persistence {timeout} s /{prefix}"),
        }));
        match &self.weights {
            None => {}
            Some(Weights::Equal) => said.push("equal weights".to_owned()),
            // A port without endpoints.
            Some(Weights::Each(weights)) if weights.is_empty() => {}
            Some(Weights::Each(weights)) => {
                let shown: Vec<String> = weights.iter().take(16).map(|weight| weight.0.to_string()).collect();
                let more = if weights.len() > 16 { " …" } else { "" };
                said.push(format!("weights {}{more}", shown.join(" ")));
            }
        }
        said
    }
}

/// A port as people call it: `port http 80/tcp`, with its family where the port exists in both.
fn port_name(port: &PortView, view: &ServiceView) -> String {
    let ServicePort { name, port: number, protocol, .. } = &port.port;
    let both = view.ports.iter().any(|other| other.family != port.family && other.port == port.port);
    let family = if both { format!(" ({})", port.family) } else { String::new() };
    let space = if name.is_empty() { "" } else { " " };
    format!("port {name}{space}{number}/{protocol}{family}")
}

/// Flags of a scheduler that a plugin chose without any. Like kube-proxy, `mh` hashes ports. Without fallback, `sh` and
/// `mh` refuse the clients of each endpoint that drains, because the kernel keeps the slots of weight 0.
fn flags_by_default(scheduler: &str) -> SchedulerFlags {
    match scheduler {
        "mh" => SchedulerFlags::HASHING,
        "sh" => SchedulerFlags::FALLBACK,
        _ => SchedulerFlags::default(),
    }
}

fn flags(words: &[String]) -> Result<SchedulerFlags, String> {
    words.iter().try_fold(SchedulerFlags::default(), |flags, word| {
        Ok(SchedulerFlags(flags.0 | value(FLAGS, word, "flags")?.0))
    })
}

fn flag_words(flags: SchedulerFlags) -> impl Iterator<Item = &'static str> {
    FLAGS.iter().filter(move |(_, flag)| flags.0 & flag.0 != 0).map(|(word, _)| *word)
}

fn drain(wire: &scheduler::Drain) -> Result<Drain, String> {
    match (value(DRAINS, &wire.mode, "drain modes")?, wire.deadline) {
        (Some(mode), None) => Ok(mode),
        (None, Some(seconds)) => Ok(Drain::UntilDeadline(Duration::from_secs(seconds.into()))),
        (None, None) => Err(format!("the drain mode {} requires a deadline", wire.mode)),
        (Some(_), Some(_)) => Err(format!("the drain mode {} does not accept a deadline", wire.mode)),
    }
}

fn print_drain(drain: Drain) -> scheduler::Drain {
    let (mode, deadline) = match drain {
        Drain::UntilIdle => ("until-idle", None),
        // It was parsed from a u32.
        Drain::UntilDeadline(time) => {
            ("until-deadline", Some(u32::try_from(time.as_secs()).unwrap_or(u32::MAX)))
        }
        Drain::AtOnce => ("at-once", None),
    };
    scheduler::Drain { mode: mode.to_owned(), deadline }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_chosen_without_flags_falls_back() {
        let flags = |scheduler| flag_words(flags_by_default(scheduler)).collect::<Vec<_>>();
        assert_eq!(flags("mh"), ["fallback", "port"]);
        assert_eq!(flags("sh"), ["fallback"]);
        assert!(flags("wrr").is_empty());
    }

    #[test]
    fn weights_of_no_endpoints_are_not_reported() {
        let told = |weights: &[u16]| {
            let weights = Some(Weights::Each(weights.iter().map(|weight| Weight(*weight)).collect()));
            PortPatch { weights, ..PortPatch::default() }.summary()
        };
        assert!(told(&[]).is_empty());
        assert_eq!(told(&[3, 1]), ["weights 3 1"]);
    }
}
