//! Reports differences from a golden file so that a person can fix them.

use std::path::Path;

use serde::Serialize;
use weir_plugin_views::Service;

use super::Golden;
use super::written::{one_line, with_answers};

/// Names the golden file if a panic occurs.
pub(super) struct InFile<'a>(pub(super) &'a Path);

impl Drop for InFile<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the golden file {}", self.0.display());
        }
    }
}

/// Returns the answers that differ, each with its service.
pub(super) fn differences(golden: &Golden, actual: &Golden) -> Vec<String> {
    let services = &golden.services;
    let mut all = list("verdicts", services, golden.verdicts.as_deref(), actual.verdicts.as_deref());
    all.extend(list("schedules", services, golden.schedules.as_deref(), actual.schedules.as_deref()));
    all.extend(list("treatments", services, golden.treatments.as_deref(), actual.treatments.as_deref()));
    all
}

fn list<A: Serialize + PartialEq>(
    key: &str,
    services: &[Service],
    expected: Option<&[A]>,
    answered: Option<&[A]>,
) -> Vec<String> {
    let (Some(answered), expected) = (answered, expected) else {
        let told = || format!("  the file has `{key}`, but the test does not check them: {}", way_out(key));
        return expected.map(|_| told()).into_iter().collect();
    };
    if expected.is_none() && answered.is_empty() {
        return vec![format!("  the file has no `{key}`: write \"{key}\": []")];
    }
    let expected = expected.unwrap_or_default();
    let shown = |answer: Option<&A>| answer.map_or_else(|| "(nothing)".to_owned(), one_line);
    (0..answered.len().max(expected.len()))
        .filter(|i| expected.get(*i) != answered.get(*i))
        .map(|i| {
            let name = services.get(i).map_or_else(
                || "no service".to_owned(),
                |service| format!("{}/{}", service.namespace, service.name),
            );
            let (old, new) = (shown(expected.get(i)), shown(answered.get(i)));
            format!("  {name}, {key}[{i}]:\n    expected {old}\n    answered {new}")
        })
        .collect()
}

/// Returns the name of a list of answers that the test does not check.
pub(super) fn superfluous(golden: &Golden, actual: &Golden) -> Option<&'static str> {
    let lists = [
        ("verdicts", golden.verdicts.is_some(), actual.verdicts.is_some()),
        ("schedules", golden.schedules.is_some(), actual.schedules.is_some()),
        ("treatments", golden.treatments.is_some(), actual.treatments.is_some()),
    ];
    lists.into_iter().find(|(_, written, asked)| *written && !asked).map(|(key, ..)| key)
}

fn way_out(key: &str) -> String {
    let interface = match key {
        "verdicts" => "filter",
        "schedules" => "scheduler",
        _ => "masquerade",
    };
    format!("remove them, or name {interface} in check_goldens!")
}

/// Returns the text of a file with the differing answers replaced.
pub(super) fn updated(mut text: String, golden: &Golden, actual: &Golden) -> String {
    if let Some(answers) = actual.verdicts.as_deref().filter(|_| actual.verdicts != golden.verdicts) {
        text = with_answers(&text, "verdicts", answers);
    }
    if let Some(answers) = actual.schedules.as_deref().filter(|_| actual.schedules != golden.schedules) {
        text = with_answers(&text, "schedules", answers);
    }
    if let Some(answers) = actual.treatments.as_deref().filter(|_| actual.treatments != golden.treatments) {
        text = with_answers(&text, "treatments", answers);
    }
    text
}

/// Explains why a file cannot be read, with the line, and an example of such a value.
pub(super) fn unreadable(path: &Path, text: &str, error: &serde_json::Error) -> String {
    let words = error.to_string();
    let why = words.split(" at line ").next().unwrap_or_default();
    // The text before the error shows the place; a file may be a single long line.
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let read: Vec<char> = line.chars().take(error.column()).collect();
    let read: String = read[read.len().saturating_sub(SHOWN)..].iter().collect();
    let hint = EXAMPLES.iter().find(|(part, _)| why.contains(part)).map(|(_, hint)| format!("; {hint}"));
    format!(
        "{}:{}:{}: {why}{}\n  after: {}",
        path.display(),
        error.line(),
        error.column(),
        hint.unwrap_or_default(),
        read.trim_start()
    )
}

/// The number of characters of a line to show.
const SHOWN: usize = 80;

/// Parts of messages, with examples of correct values.
const EXAMPLES: [(&str, &str); 9] = [
    (
        "expected value",
        r#"a choice is written as a word or as an object with a value: "equal", {"each": [3, 1]}"#,
    ),
    ("socket address", r#"an endpoint's address is written as "10.0.1.4:8080" or "[fd00::4]:8080""#),
    ("IP address", r#"an address is written as "192.0.2.1" or "2001:db8::1""#),
    ("IpNet", r#"a network is written as "10.0.0.0/8""#),
    ("expected a map", r#"labels and annotations are written as {"key": "value"}"#),
    ("`keep`, `equal`, `each`", r#"weights are written as {"each": [3, 1]} or "equal""#),
    (
        "`keep`, `session-affinity`",
        r#"persistence is written as {"on": [3600, 32]}, "off" or "session-affinity""#,
    ),
    ("missing field `address`", r#"an endpoint is written as {"address": "10.0.1.4:8080", "ready": true}"#),
    ("missing field `port`", r#"a port is written as {"port": 80, "endpoints": []}"#),
];
