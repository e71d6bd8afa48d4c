//! `weir lab`: simulates a described load against policies, without a kernel.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, bail};
use weir_core::state::{SchedulerFlags, Scheduling};
use weir_lab::load::{Load, loads};
use weir_lab::report::{self, Played};
use weir_lab::scheduler::SCHEDULERS;
use weir_lab::simulate::play;
use weir_lab::traffic::Traffic;
use weir_lab::weights::{Arrangement, Fixed, Weights};

use crate::cli::{LabArguments, LabOutput};
use crate::{inputs, output};

mod planned;

use planned::{Laboratory, Target};

/// The source of the scheduler and the weights.
enum Choice {
    Builtin,
    Scheduler(String),
    Known,
    File(PathBuf),
}

impl Choice {
    /// Parses the value of `flag`.
    fn parse(text: &str, flag: &str) -> anyhow::Result<Choice> {
        Ok(match text {
            "builtin" => Choice::Builtin,
            "known" => Choice::Known,
            name if SCHEDULERS.contains(&name) => Choice::Scheduler(name.to_owned()),
            file if Path::new(file).exists() => Choice::File(file.into()),
            other => bail!(
                "{flag} {other}: no such file, and not one of builtin, known, {}; to use plugins, name them in a \
                 PolicyConfiguration file",
                SCHEDULERS.join(", ")
            ),
        })
    }
}

/// Runs every load against every policy and prints the results. Exit status 1 if a plugin was refused or failed.
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
        let mut policy: Box<dyn Weights> = match choice {
            Choice::Builtin => Box::new(laboratory.planned(target, load.nodes, None, None)?),
            Choice::Scheduler(scheduler) => {
                Box::new(laboratory.planned(target, load.nodes, None, Some(scheduler))?)
            }
            Choice::File(file) => Box::new(laboratory.planned(target, load.nodes, Some(file), None)?),
            Choice::Known => Box::new(known(&load)),
        };
        let played = play(&load, &mut *policy, *seed);
        outcomes.push(played.with_context(|| format!("policy {name}, service {}", load.service))?);
    }
    Ok(Played { policy: name.to_owned(), load, outcomes })
}

/// `wrr` with ideal weights for the known speeds; the fastest endpoint gets 100.
fn known(load: &Load) -> Fixed {
    let capacities = load.capacities();
    let most = capacities.iter().copied().fold(0.0, f64::max);
    let weight = |capacity: &f64| Some(((capacity / most * 100.0).round() as u16).max(1));
    let scheduling =
        Scheduling { scheduler: "wrr".to_owned(), flags: SchedulerFlags::default(), persistence: None };
    Fixed(Arrangement { scheduling, weights: capacities.iter().map(weight).collect() })
}
