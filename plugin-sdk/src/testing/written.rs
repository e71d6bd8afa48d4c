//! Replaces answers in the text of a golden file and keeps the rest as it was written.

use std::io;
use std::ops::Range;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Returns the text with these answers, one per line, as the new value of `key`.
pub(super) fn with_answers<A: Serialize>(text: &str, key: &str, answers: &[A]) -> String {
    let lines: Vec<String> = answers.iter().map(|answer| format!("\n    {}", one_line(answer))).collect();
    let list = if lines.is_empty() { "[]".to_owned() } else { format!("[{}\n  ]", lines.join(",")) };
    let members = members(text);
    if let Some((_, value)) = members.iter().find(|(name, _)| *name == key) {
        return format!("{}{list}{}", &text[..value.start], &text[value.end..]);
    }
    // After the last member; a golden file always has one, its services.
    let end = members.last().map_or(text.len(), |(_, value)| value.end);
    format!("{},\n  \"{key}\": {list}{}", &text[..end], &text[end..])
}

/// Formats a value on one line, with spaces as a person would write them.
pub(super) fn one_line(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    match value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced)) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("({error})"),
    }
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Returns the keys of the outermost object and the ranges of their values. The text must be valid JSON.
fn members(text: &str) -> Vec<(&str, Range<usize>)> {
    let mut members = Vec::new();
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    let (mut name, mut value) = ("", None);
    for (i, b) in text.bytes().enumerate() {
        if let Some(start) = quote {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quote = None;
                    if depth == 1 && value.is_none() {
                        name = &text[start + 1..i];
                    }
                }
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => quote = Some(i),
            b':' if depth == 1 && value.is_none() => value = Some(i + 1),
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' => {
                if depth == 1
                    && let Some(start) = value.take()
                {
                    let written = &text[start..i];
                    let start = start + written.len() - written.trim_start().len();
                    members.push((name, start..start + written.trim().len()));
                }
                depth -= i32::from(b != b',');
            }
            _ => {}
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_answers_are_written_anew() {
        let text = "{\n  \"context\": {\"a\": \"}, \\\"schedules\\\": [\"},\n  \"schedules\" : [ {} ],\n \"services\": [1,\n 2]\n}\n";
        let answers = [json!({"ports": [{"scheduler": "lc"}], "reason": "so"}), json!({})];
        let expected = "{\n  \"context\": {\"a\": \"}, \\\"schedules\\\": [\"},\n  \"schedules\" : [\n    \
             {\"ports\": [{\"scheduler\": \"lc\"}], \"reason\": \"so\"},\n    {}\n  ],\n \"services\": [1,\n 2]\n}\n";
        assert_eq!(with_answers(text, "schedules", &answers), expected);
        let expected = "{\"services\": [],\n  \"verdicts\": [\n    {}\n  ]}";
        assert_eq!(with_answers("{\"services\": []}", "verdicts", &[json!({})]), expected);
    }
}
