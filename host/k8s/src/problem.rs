//! Problems of an input, in words for its author.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_core::text::printable;

/// One problem: where it is, and what is allowed there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file; `None` for objects of the API server.
    pub file: Option<PathBuf>,
    /// The object, such as `Service default/web`; empty if it concerns the whole file.
    pub object: String,
    /// The path of the field, such as `spec.ports[0].port`; empty if it concerns the whole object.
    pub field: String,
    /// The value found there, as written; empty if nothing was found.
    pub value: String,
    /// What is allowed, and what was done instead.
    pub message: String,
}

impl Problem {
    /// A problem with a whole file.
    pub(crate) fn of_file(file: &Path, message: impl Into<String>) -> Problem {
        Problem { file: Some(file.to_owned()), ..Problem::of_object("", message) }
    }

    /// A problem with a whole object.
    pub(crate) fn of_object(object: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            file: None,
            object: object.into(),
            field: String::new(),
            value: String::new(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", printable(&file.to_string_lossy()))?;
        }
        if !self.object.is_empty() {
            write!(f, "{}: ", printable(&self.object))?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", printable(&self.field))?;
        }
        if !self.value.is_empty() {
            write!(f, "`{}`: ", printable(&self.value))?;
        }
        f.write_str(&printable(&self.message))
    }
}

/// A value as text that fits on a line.
pub fn abridged(value: &Value) -> String {
    const ROOM: usize = 60;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(ROOM) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The known key that an unknown one most resembles, if it is close enough.
pub fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const SIMILAR: f64 = 0.75;
    let scored = known.map(|name| (strsim::jaro_winkler(name, key), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score >= SIMILAR).map(|(_, name)| name)
}

/// Collects the problems of one object.
#[derive(Debug, Default)]
pub struct Problems {
    object: String,
    list: Vec<Problem>,
}

impl Problems {
    /// A collector for an object with this description.
    pub fn of(object: impl Into<String>) -> Problems {
        Problems { object: object.into(), list: Vec::new() }
    }

    /// Notes an invalid field.
    pub fn note(&mut self, field: impl Into<String>, value: impl fmt::Display, message: impl Into<String>) {
        self.list.push(Problem {
            file: None,
            object: self.object.clone(),
            field: field.into(),
            value: value.to_string(),
            message: message.into(),
        });
    }

    /// The noted problems, in order.
    pub fn into_vec(self) -> Vec<Problem> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_harms_no_terminal_and_forges_no_line() {
        let mut problems = Problems::of("plugin a\u{1b}[2J");
        problems.note("na\nme", "x\r\u{202e}", "must be\u{7} a name");
        let mut problem = problems.into_vec().remove(0);
        problem.file = Some("/tmp/a\u{1b}]0;b".into());
        assert_eq!(
            problem.to_string(),
            r"/tmp/a\u{1b}]0;b: plugin a\u{1b}[2J: na\nme: `x\r\u{202e}`: must be\u{7} a name"
        );
    }
}
