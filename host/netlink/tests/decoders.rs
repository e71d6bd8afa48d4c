//! Runs the fuzzed functions over the fuzzers' corpus and mutations of it, with the stable compiler.

#[path = "../../../tests/fuzz/decoders.rs"]
mod decoders;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// A fuzz target's name and function.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 6] = [
    ("socket", decoders::socket),
    ("ipvs", decoders::ipvs),
    ("ipset", decoders::ipset),
    ("route", decoders::route),
    ("conntrack", decoders::conntrack),
    ("rules", decoders::rules),
];

/// How often each message of the corpus is mutated.
const MUTATIONS: u32 = 2000;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus(target)).expect("the corpus exists");
    entries.map(|entry| fs::read(entry.unwrap().path()).expect("a seed can be read")).collect()
}

/// Every datagram received in a recorded conversation.
fn recorded(name: &str) -> Vec<Vec<u8>> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name).with_extension("txt");
    let text = fs::read_to_string(path).expect("the recording exists");
    let hex = text.lines().filter_map(|line| line.strip_prefix("< "));
    hex.map(|hex| {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    })
    .collect()
}

/// The bodies of the messages in a datagram that are not acknowledgements.
fn bodies(mut datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while !datagram.is_empty() {
        let length = u32::from_ne_bytes(datagram[..4].try_into().unwrap()) as usize;
        let kind = u16::from_ne_bytes(datagram[4..6].try_into().unwrap());
        if kind > 3 {
            bodies.push(datagram[16..length].to_vec());
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    bodies
}

/// The seeds that a target's corpus must contain.
fn wanted_seeds(target: &str) -> BTreeSet<Vec<u8>> {
    match target {
        "socket" => TARGETS.iter().skip(1).flat_map(|(name, _)| recorded(name)).collect(),
        name => recorded(name).iter().flat_map(|datagram| bodies(datagram)).collect(),
    }
}

/// Writes the corpus if `WEIR_RECORD` is set.
#[test]
fn the_corpus_holds_what_was_recorded() {
    for (target, _) in TARGETS {
        let wanted = wanted_seeds(target);
        assert!(!wanted.is_empty());
        if std::env::var_os("WEIR_RECORD").is_some() {
            fs::create_dir_all(corpus(target)).unwrap();
            for (number, seed) in wanted.iter().enumerate() {
                fs::write(corpus(target).join(format!("recorded-{number:03}")), seed).unwrap();
            }
        }
        let held = seeds(target).into_iter().collect::<BTreeSet<_>>();
        assert!(held.is_superset(&wanted), "{target}: record the corpus again");
    }
}

#[test]
fn no_decoder_panics_on_the_corpus() {
    for (target, decode) in TARGETS {
        for seed in seeds(target) {
            decode(&seed);
            (0..seed.len()).for_each(|length| decode(&seed[..length]));
        }
    }
}

/// One change of some bytes; attribute lengths and kinds are 16-bit numbers at even offsets.
#[derive(Debug, Clone)]
enum Mutation {
    Byte(Index, u8),
    Half(Index, u16),
    Remove(Index),
    Insert(Index, u8),
    Repeat(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    let half = prop_oneof![0_u16..40, Just(u16::MAX), Just(0x8000), Just(0x7fff), any::<u16>()];
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        (place(), half).prop_map(|(at, half)| Mutation::Half(at, half)),
        place().prop_map(Mutation::Remove),
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        place().prop_map(Mutation::Repeat),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.len() < 2 {
        return;
    }
    match mutation {
        Mutation::Byte(at, byte) => *at.get_mut(bytes) = *byte,
        Mutation::Half(at, half) => {
            let at = at.index(bytes.len() / 2) * 2;
            bytes[at..at + 2].copy_from_slice(&half.to_ne_bytes());
        }
        Mutation::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
        Mutation::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
        Mutation::Repeat(at) => bytes.extend_from_within(at.index(bytes.len())..),
    }
}

#[test]
fn no_decoder_panics_on_mutations_of_the_corpus() {
    for (target, decode) in TARGETS {
        let seeds = seeds(target);
        let mut runner = TestRunner::new(ProptestConfig {
            cases: MUTATIONS,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let strategy = (any::<Index>(), proptest::collection::vec(mutation(), 1..6));
        let outcome = runner.run(&strategy, |(seed, mutations)| {
            let mut bytes = seed.get(&seeds).clone();
            mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
            decode(&bytes);
            Ok(())
        });
        assert!(outcome.is_ok(), "{target}: {outcome:?}");
    }
}
