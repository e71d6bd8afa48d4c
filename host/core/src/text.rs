//! Makes text from other sources safe to show to a person.

use std::borrow::Cow;
use std::fmt;

/// Text from another source, safe for a line of a terminal or a log: characters that move the cursor, end the line
/// or change the writing direction are shown as escapes.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    text.chars().for_each(|c| push(&mut shown, c));
    Cow::Owned(shown)
}

/// Like [`printable`], but limited to this many bytes; `…` stands for the rest.
pub fn abridged(text: &str, most: usize) -> String {
    const REST: char = '…';
    let mut shown = String::new();
    let mut end = 0;
    for c in text.chars() {
        if shown.len() + REST.len_utf8() <= most {
            end = shown.len();
        }
        push(&mut shown, c);
        if shown.len() > most {
            shown.truncate(end);
            shown.push(REST);
            break;
        }
    }
    shown
}

/// A number with its noun, whose plural is regular.
pub fn counted<N: fmt::Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    match thing.strip_suffix('y') {
        _ if number == N::from(1) => format!("{number} {thing}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ if thing.ends_with('s') => format!("{number} {thing}es"),
        _ => format!("{number} {thing}s"),
    }
}

fn push(shown: &mut String, c: char) {
    if is_active(c) { shown.extend(c.escape_debug()) } else { shown.push(c) }
}

/// Control characters, and those that control the layout of other characters (Unicode, section 23.2).
fn is_active(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_forges_a_line_is_shown_as_an_escape() {
        assert_eq!(printable("a\u{1b}[2J\r\nb\u{202e}\u{7f}"), r"a\u{1b}[2J\r\nb\u{202e}\u{7f}");
        assert_eq!(printable("zone „ä“ 'x' \\"), "zone „ä“ 'x' \\");
        let twice = printable(&printable("\n")).into_owned();
        assert_eq!(twice, r"\n", "what was shown can be shown again");
    }

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0_usize, 1, 2].map(|n| counted(n, "port")), ["0 ports", "1 port", "2 ports"]);
        assert_eq!([1_u64, 2].map(|n| counted(n, "entry")), ["1 entry", "2 entries"]);
        assert_eq!([1_u64, 2].map(|n| counted(n, "key")), ["1 key", "2 keys"]);
        assert_eq!([1_u64, 2].map(|n| counted(n, "address")), ["1 address", "2 addresses"]);
    }

    #[test]
    fn a_long_text_ends_with_an_ellipsis_inside_its_limit() {
        for (text, most, shown) in [
            ("12345", 5, "12345"),
            ("123456", 5, "12…"),
            ("äöü", 6, "äöü"),
            ("äöüß", 6, "ä…"),
            // No escape is split.
            ("1\u{1b}2345", 7, "1…"),
            ("1\u{1b}2", 8, r"1\u{1b}2"),
            ("", 0, ""),
        ] {
            assert_eq!(abridged(text, most), shown, "{text:?} in {most} bytes");
        }
    }
}
