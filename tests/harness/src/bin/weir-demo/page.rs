//! Output for the viewer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use weir_harness::cluster::Tally;

/// The longest bar, in characters.
const BAR: usize = 30;

/// Prints a numbered headline.
pub(crate) fn headline(text: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // Follows https://no-color.org; the guest has no terminal to query.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let (bold, normal) = if plain { ("", "") } else { ("\u{1b}[1m", "\u{1b}[0m") };
    println!("\n{bold}{number}. {text}{normal}");
}

/// Prints a line of explanation.
pub(crate) fn say(text: &str) {
    println!("   {text}");
}

/// Prints a program's output.
pub(crate) fn quote<'t>(lines: impl IntoIterator<Item = &'t str>) {
    for line in lines {
        println!("   | {line}");
    }
}

/// Prints how requests spread over servers.
pub(crate) fn chart(title: &str, tally: &Tally) {
    say(title);
    for (server, bar, count) in bars(&tally.answers) {
        println!("     {server:<6} {bar} {count}");
    }
}

fn bars(answers: &BTreeMap<String, usize>) -> Vec<(&str, String, usize)> {
    let most = answers.values().copied().max().unwrap_or(0).max(1);
    let bar = |count: usize| "█".repeat((count * BAR).div_ceil(most));
    answers.iter().map(|(server, &count)| (server.as_str(), bar(count), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_full_and_the_shortest_is_seen() {
        let answers = BTreeMap::from([("a".to_owned(), 3000), ("b".to_owned(), 1500), ("c".to_owned(), 1)]);
        let lengths: Vec<usize> = bars(&answers).iter().map(|(_, bar, _)| bar.chars().count()).collect();
        assert_eq!(lengths, [BAR, BAR / 2, 1]);
    }
}
