//! Runs one seed, from its first state through all mutations.

use std::fmt;
use std::ops::AddAssign;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use weir_guest_init::FILE;
use weir_parity::World;
use weir_world::Seed;

use crate::stage::{Comparison, Stage, Times};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    cases: usize,
    mutations: usize,
    comparisons: usize,
    explained: usize,
    refused: usize,
    differing: usize,
}

impl Counts {
    pub(crate) fn is_success(self) -> bool {
        self.differing == 0 && self.refused == 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.cases += other.cases;
        self.mutations += other.mutations;
        self.comparisons += other.comparisons;
        self.explained += other.explained;
        self.refused += other.refused;
        self.differing += other.differing;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { cases, mutations, comparisons, explained, refused, differing } = self;
        write!(
            f,
            "{cases} cases, {mutations} mutations, {comparisons} comparisons: {differing} with unexplained \
             differences, {explained} explained lines, {refused} refused objects"
        )
    }
}

/// The node's interfaces, as in the recordings.
const INTERFACES: &str = include_str!("../../../../scenarios/data/random-1/interfaces.json");

/// The initial state for replaying a difference.
struct Before {
    objects: Value,
    recording: String,
}

pub(crate) fn run(stage: &mut Stage<'_>, seed: u64, mutations: usize, batch: usize) -> Result<Counts> {
    let start = Instant::now();
    stage.configure(&weir_parity::config(seed))?;
    let mut source = Seed::new(seed);
    let mut world = World::random(&mut source);
    let mut counts = Counts { cases: 1, ..Counts::default() };
    let mut deeds = vec!["the initial state".to_owned()];
    let mut before: Option<Before> = None;
    let mut times = Times::default();
    let mut refused = stage.deliver(&mut world)?;
    while counts.mutations < mutations {
        for _ in 0..batch.min(mutations - counts.mutations) {
            deeds.push(world.mutate(&mut source));
            // Both are notified at the same time and may still be processing the previous state.
            refused.extend(stage.deliver(&mut world)?);
            counts.mutations += 1;
        }
        let comparison = stage.compare(&world)?;
        counts.comparisons += 1;
        counts.explained += comparison.explained;
        times += comparison.times;
        if !comparison.unexplained.is_empty() {
            counts.differing += 1;
            report(seed, counts.comparisons, &deeds, &comparison, before.as_ref(), &stage.logs());
        }
        before = Some(Before { objects: comparison.objects, recording: comparison.recording });
        deeds.clear();
    }
    counts.refused = refused.len();
    for why in refused {
        println!("seed {seed}: refused by the API server: {why}");
    }
    println!(
        "seed {seed}: {} mutations, {} comparisons, {} with differences; {:.1} s: {times}",
        counts.mutations,
        counts.comparisons,
        counts.differing,
        start.elapsed().as_secs_f64()
    );
    Ok(counts)
}

/// Prints a difference, and writes a directory like those of `tests/scenarios/data` that reproduces it.
fn report(
    seed: u64,
    number: usize,
    deeds: &[String],
    comparison: &Comparison,
    before: Option<&Before>,
    logs: &str,
) {
    let lines: Vec<String> = comparison.unexplained.iter().map(ToString::to_string).collect();
    let text =
        format!("seed {seed}, comparison {number}, after\n  {}\n{}\n", deeds.join("\n  "), lines.join("\n"));
    print!("{text}");
    let folder = format!("seed-{seed}-{number}");
    let pretty = |value: &Value| format!("{value:#}\n");
    hand_over(&folder, "difference.txt", &text);
    hand_over(&folder, "logs.txt", logs);
    hand_over(&folder, "config.json", &pretty(&weir_parity::config(seed)));
    hand_over(&folder, "interfaces.json", INTERFACES);
    hand_over(&folder, "node.json", &pretty(&comparison.node));
    let mut step = 1;
    if let Some(Before { objects, recording }) = before {
        hand_over(&folder, "1/objects.json", &pretty(objects));
        hand_over(&folder, "1/kernel.txt", recording);
        step = 2;
    }
    hand_over(&folder, &format!("{step}/objects.json"), &pretty(&comparison.objects));
    hand_over(&folder, &format!("{step}/kernel.txt"), &comparison.recording);
}

fn hand_over(folder: &str, name: &str, text: &str) {
    println!("{FILE}{}", json!({ "path": format!("{folder}/{name}"), "text": text }));
}
