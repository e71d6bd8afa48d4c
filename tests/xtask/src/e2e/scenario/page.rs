//! Commands of a page, in the order in which its readers run them.

use std::fmt;

use anyhow::{Context, Result};

/// A line of a block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A command, after the prompt `$`.
    Command(String),
    /// A manual step, after `#`.
    Note(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Command(command) => write!(f, "$ {command}"),
            Step::Note(note) => write!(f, "# {note}"),
        }
    }
}

/// The steps of all code blocks below the heading that starts with this text, up to the next heading of its level.
pub(super) fn steps(page: &str, heading: &str) -> Result<Vec<Step>> {
    let mut lines = page.lines().skip_while(|line| !line.starts_with(&format!("## {heading}")));
    lines.next().with_context(|| format!("the page has no heading {heading:?}"))?;
    let mut steps: Vec<Step> = Vec::new();
    let (mut in_block, mut continues) = (false, false);
    for line in lines.take_while(|line| !line.starts_with("## ")).map(str::trim) {
        if line.starts_with("```") {
            in_block = line == "```console";
            continue;
        }
        if !in_block {
            continue;
        }
        let (text, goes_on) = line.strip_suffix('\\').map_or((line, false), |text| (text.trim_end(), true));
        match (continues, steps.last_mut(), text.strip_prefix("$ "), text.strip_prefix("# ")) {
            (true, Some(Step::Command(command) | Step::Note(command)), _, _) => {
                command.push(' ');
                command.push_str(text);
            }
            (_, _, Some(command), _) => steps.push(Step::Command(command.to_owned())),
            (_, _, _, Some(note)) => steps.push(Step::Note(note.to_owned())),
            // Output that the page shows.
            _ => {}
        }
        continues = goes_on;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_prompts_notes_and_continued_lines() {
        let page = "# Page\n## One\n```console\n$ no\n```\n## Two, three\ntext\n- list:\n  ```console\n  $ a -- \\\n      b\n  \
            output\n  # by hand\n  ```\n```yaml\n# $ c\n```\n### Four\n```console\n$ d\n```\n## Five\n```console\n$ e\n```\n";
        let expected =
            [Step::Command("a -- b".into()), Step::Note("by hand".into()), Step::Command("d".into())];
        assert_eq!(steps(page, "Two").unwrap(), expected);
        assert!(steps(page, "Six").is_err());
    }
}
