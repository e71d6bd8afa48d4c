//! The root's README quotes lines of a run; the demo still prints these lines.

const README: &str = include_str!("../../../../../README.md");

const SOURCES: [&str; 4] = [
    include_str!("main.rs"),
    include_str!("requests.rs"),
    include_str!("rollout.rs"),
    include_str!("stage.rs"),
];

/// The lines of the block that shows the rollout.
fn quoted() -> Vec<&'static str> {
    let blocks = README.split("```text\n").skip(1).filter_map(|text| text.split("```").next());
    let block =
        blocks.into_iter().find(|block| block.contains("A rollout")).expect("README.md quotes no rollout");
    block.lines().collect()
}

#[test]
fn quoted_headlines_are_those_of_the_demo() {
    let headlines = SOURCES[0].split("page::headline(\"").skip(1).filter_map(|text| text.split('"').next());
    let printed: Vec<String> = headlines.enumerate().map(|(n, text)| format!("{}. {text}", n + 1)).collect();
    let lines = quoted();
    let quoted: Vec<&str> =
        lines.into_iter().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert!(quoted.len() > 1, "{quoted:?}");
    for headline in quoted {
        assert!(printed.iter().any(|printed| printed == headline), "{headline}: not among {printed:#?}");
    }
}

/// A number may stand where the demo inserts a measured one.
#[test]
fn quoted_sentences_are_those_of_the_demo() {
    let lines = quoted();
    let sentences: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("   ")).collect();
    let sentences = sentences.into_iter().filter(|line| line.ends_with('.') && !line.starts_with(['|', ' ']));
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let mut count = 0;
    for sentence in sentences {
        let words = sentence.split(' ').map(|word| if is_number(word) { "{}" } else { word });
        let text = format!("\"{}\"", words.collect::<Vec<_>>().join(" "));
        assert!(SOURCES.iter().any(|source| source.contains(&text)), "the demo does not print {text}");
        count += 1;
    }
    assert!(count > 3, "only {count} sentences");
}
