//! The fuzz targets, run over the fuzzer's corpus and mutations of it, with the stable compiler.

#[path = "../../../tests/fuzz/readers.rs"]
mod readers;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

fn seeds() -> Vec<String> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/manifests");
    let entries = fs::read_dir(corpus).expect("the corpus exists");
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 7);
    paths.iter().map(|path| fs::read_to_string(path).expect("a seed is text")).collect()
}

/// One change of a text's lines.
#[derive(Debug, Clone)]
enum Mutation {
    /// Duplicate a line.
    Repeat(Index),
    Remove(Index),
    /// Replace what follows the first colon of a line.
    Value(Index, &'static str),
    Insert(Index, &'static str),
    /// Insert a character anywhere.
    Character(Index, Index, char),
    /// Truncate the text.
    Cut(Index),
}

const VALUES: [&str; 12] =
    ["", " null", " ~", " {}", " []", " *service", " &service a", " [null]", " 1", " \"", " |", " \u{1b}[2J"];
const LINES: [&str; 8] = ["---", "...", "  <<: *labels", "kind: List", "items:", "? [a]", "\t", "--- |"];

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        place().prop_map(Mutation::Repeat),
        place().prop_map(Mutation::Remove),
        (place(), select(&VALUES[..])).prop_map(|(at, value)| Mutation::Value(at, value)),
        (place(), select(&LINES[..])).prop_map(|(at, line)| Mutation::Insert(at, line)),
        (
            place(),
            place(),
            prop_oneof![select(vec!['{', '}', '[', ']', ':', '"', '&', '*', '!', '-']), any::<char>()]
        )
            .prop_map(|(line, at, c)| Mutation::Character(line, at, c)),
        place().prop_map(Mutation::Cut),
    ]
}

fn mutate(lines: &mut Vec<String>, mutation: &Mutation) {
    if lines.is_empty() {
        return;
    }
    match mutation {
        Mutation::Repeat(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at].clone());
        }
        Mutation::Remove(at) => drop(lines.remove(at.index(lines.len()))),
        Mutation::Value(at, value) => {
            let line = at.get_mut(lines);
            if let Some(colon) = line.find(':') {
                line.replace_range(colon + 1.., value);
            }
        }
        Mutation::Insert(at, line) => lines.insert(at.index(lines.len()), (*line).to_owned()),
        Mutation::Character(at, place, c) => {
            let line = at.get_mut(lines);
            let places: Vec<usize> = line.char_indices().map(|(at, _)| at).chain([line.len()]).collect();
            line.insert(*place.get(&places), *c);
        }
        Mutation::Cut(at) => lines.truncate(at.index(lines.len())),
    }
}

#[test]
fn the_corpus_is_read() {
    for seed in seeds() {
        readers::manifests(seed.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn mutations_of_the_corpus_are_read(
        seed in select(seeds()),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut lines: Vec<String> = seed.lines().map(str::to_owned).collect();
        mutations.iter().for_each(|mutation| mutate(&mut lines, mutation));
        readers::manifests(lines.join("\n").as_bytes());
    }
}
