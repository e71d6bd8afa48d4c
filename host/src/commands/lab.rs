//! `weir lab`: a described load, played against policies without a kernel.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, bail};
use weir_core::state::{SchedulerFlags, Scheduling};
use weir_lab::load::{Load, loads};
use weir_lab::load_aware::{Constants, OnTop};
use weir_lab::report::{self, Played};
use weir_lab::scheduler::SCHEDULERS;
use weir_lab::simulate::play;
use weir_lab::traffic::Traffic;
use weir_lab::weights::{Arrangement, Fixed, Weights};

use crate::cli::{LabArguments, LabOutput};
use crate::{inputs, output};

mod planned;

use planned::{Laboratory, Target};

/// A policy that can be played.
struct Choice {
    base: Base,
    /// Load-aware weights on top of it.
    load_aware: Option<Constants>,
}

/// Where scheduler and weights come from at first.
enum Base {
    Builtin,
    Scheduler(String),
    Known,
    File(PathBuf),
}

impl Choice {
    /// Reads what was given to `flag`: `BASE`, `load-aware`, or `BASE+load-aware`, the last two with constants.
    fn parse(text: &str, flag: &str) -> anyhow::Result<Choice> {
        let split = text.rsplit_once("load-aware").filter(|(base, constants)| {
            (base.is_empty() || base.ends_with('+')) && (constants.is_empty() || constants.starts_with(':'))
        });
        let Some((base, settings)) = split else {
            return Ok(Choice { base: Base::parse(text, flag)?, load_aware: None });
        };
        let base = match base.strip_suffix('+') {
            Some(base) => Base::parse(base, flag)?,
            None => Base::Builtin,
        };
        let load_aware = Some(constants(settings).with_context(|| format!("{flag} {text}"))?);
        Ok(Choice { base, load_aware })
    }
}

impl Base {
    fn parse(text: &str, flag: &str) -> anyhow::Result<Base> {
        Ok(match text {
            "builtin" => Base::Builtin,
            "known" => Base::Known,
            name if SCHEDULERS.contains(&name) => Base::Scheduler(name.to_owned()),
            file if Path::new(file).exists() => Base::File(file.into()),
            other => bail!(
                "{flag} {other}: there is no such file, and it is not one of builtin, known, load-aware, {}",
                SCHEDULERS.join(", ")
            ),
        })
    }
}

/// The constants of `:NAME=VALUE:NAME=VALUE`.
fn constants(text: &str) -> anyhow::Result<Constants> {
    let mut constants = Constants::default();
    for setting in text.split(':').skip(1) {
        let (name, value) =
            setting.split_once('=').with_context(|| format!("`{setting}` must be NAME=VALUE, as scale=8"))?;
        constants.set(name, value)?;
    }
    Ok(constants)
}

/// Plays every load against every policy and prints what came of it. Exit status 1 if a plugin was refused or failed.
pub(crate) fn run(arguments: &LabArguments) -> anyhow::Result<ExitCode> {
    let place = || format!("--traffic {}", arguments.traffic.display());
    let mut traffic = Traffic::load(&arguments.traffic).with_context(place)?;
    if !arguments.seeds.is_empty() {
        traffic.seeds.clone_from(&arguments.seeds);
    }
    let mut policies = vec![(arguments.policy.as_str(), Choice::parse(&arguments.policy, "--policy")?)];
    for name in &arguments.against {
        policies.push((name, Choice::parse(name, "--against")?));
    }
    let settings = inputs::settings(&arguments.node)?;
    let mut laboratory = Laboratory::new(&arguments.manifests, settings, &traffic.client_nodes)?;
    let mut results = Vec::new();
    for (index, service) in traffic.services.iter().enumerate() {
        let target = laboratory.target(service).with_context(|| format!("{}: services[{index}]", place()))?;
        for load in loads(&traffic, service, &target.addresses).with_context(place)? {
            for (name, choice) in &policies {
                results.push(play_seeds(
                    name,
                    choice,
                    load.clone(),
                    &traffic.seeds,
                    &target,
                    &mut laboratory,
                )?);
            }
        }
    }
    match arguments.output {
        LabOutput::Text => output::out(format_args!("{}", report::text(&results))),
        LabOutput::Json => output::out(format_args!("{}", report::json_lines(&results))),
        LabOutput::Svg => output::out(format_args!("{}", report::svg(&results)?)),
    }
    Ok(laboratory.status())
}

fn play_seeds(
    name: &str,
    choice: &Choice,
    load: Load,
    seeds: &[u64],
    target: &Rc<Target>,
    laboratory: &mut Laboratory,
) -> anyhow::Result<Played> {
    let mut outcomes = Vec::new();
    for seed in seeds {
        let base: Box<dyn Weights> = match &choice.base {
            Base::Builtin => Box::new(laboratory.planned(target, None, None)?),
            Base::Scheduler(scheduler) => Box::new(laboratory.planned(target, None, Some(scheduler))?),
            Base::File(file) => Box::new(laboratory.planned(target, Some(file), None)?),
            Base::Known => Box::new(known(&load)),
        };
        let mut policy = match &choice.load_aware {
            Some(constants) => Box::new(OnTop::new(base, constants.clone(), load.addresses.clone())),
            None => base,
        };
        let played = play(&load, &mut *policy, *seed);
        outcomes.push(played.with_context(|| format!("policy {name}, service {}", load.service))?);
    }
    Ok(Played { policy: name.to_owned(), load, outcomes })
}

/// `wrr` with the weights that somebody who knows the speeds would give, the fastest 100.
fn known(load: &Load) -> Fixed {
    let capacities = load.capacities();
    let most = capacities.iter().copied().fold(0.0, f64::max);
    let weight = |capacity: &f64| Some(((capacity / most * 100.0).round() as u16).max(1));
    let scheduling =
        Scheduling { scheduler: "wrr".to_owned(), flags: SchedulerFlags::default(), persistence: None };
    Fixed(Arrangement { scheduling, weights: capacities.iter().map(weight).collect() })
}
