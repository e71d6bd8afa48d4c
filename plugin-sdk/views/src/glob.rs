//! Names with wildcards.

/// Whether a text matches a pattern in which each `*` stands for any text, including an empty one.
///
/// ```
/// use weir_plugin_views::glob;
///
/// assert!(glob::matches("team-*", "team-a"));
/// assert!(!glob::matches("team-*", "kube-system"));
/// ```
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(start) => text = &text[start + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// Whether a text matches any of the patterns.
pub fn matches_any<'a>(patterns: impl IntoIterator<Item = &'a String>, text: &str) -> bool {
    patterns.into_iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a"),
            ("a", "a"),
            ("a*", "a"),
            ("*a", "ba"),
            ("a*c*e", "abcde"),
            ("**", "x"),
            ("a*a", "aa"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "ab"),
            ("a*", "ba"),
            ("*a", "ab"),
            ("a*a", "a"),
            ("a*c*e", "aecd"),
            ("[a]", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
