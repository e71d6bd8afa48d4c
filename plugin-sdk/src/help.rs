//! What many policies need: configurations read, annotations parsed, weights made.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use weir_plugin_views::{Attributes, Endpoint};

/// Reads a configuration; none at all is an empty one.
///
/// # Errors
/// With what is wrong. Use `#[serde(deny_unknown_fields)]`, so that a misspelt key is not silently ignored.
pub fn configuration<T: DeserializeOwned>(json: &str) -> Result<T, Vec<String>> {
    let json = if json.trim() == "null" { "{}" } else { json };
    serde_json::from_str(json).map_err(|error| vec![error.to_string()])
}

/// The value of an annotation or label, if it is there.
///
/// # Errors
/// With a sentence that names key and value, if it is no `T`.
pub fn parsed<T>(attributes: &Attributes, key: &str) -> Result<Option<T>, String>
where
    T: FromStr,
    T::Err: Display,
{
    let Some(text) = attributes.get(key) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|error| format!("{key}: `{text}`: {error}"))
}

/// The items of a list that commas separate, without blanks around them and without empty ones.
pub fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Whether `*` in the pattern can stand for something so that it is the text.
pub fn fits(pattern: &str, text: &str) -> bool {
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

/// Weights in the ratio of these numbers, the largest at most `most`. What is more than 0 stays more than 0.
pub fn scaled(shares: &[u64], most: u16) -> Vec<u16> {
    let largest = shares.iter().copied().max().unwrap_or(0);
    if largest <= u64::from(most) {
        return shares.iter().map(|share| u16::try_from(*share).unwrap_or(most)).collect();
    }
    let scale = |share: u64| {
        let scaled = u128::from(share) * u128::from(most) / u128::from(largest);
        let floor = u16::from(share > 0);
        u16::try_from(scaled).unwrap_or(most).max(floor)
    };
    shares.iter().map(|share| scale(*share)).collect()
}

/// Quiesces some endpoints, unless none that is used would be left to take connections. Returns whether it was done.
pub fn quiesce(weights: &mut [u16], endpoints: &[Endpoint], which: impl Fn(&Endpoint) -> bool) -> bool {
    let takes = |used: fn(&Endpoint) -> bool| {
        let mut used = endpoints.iter().zip(weights.iter()).filter(|(e, _)| used(e)).peekable();
        used.peek().is_none() || used.any(|(endpoint, weight)| *weight > 0 && !which(endpoint))
    };
    if !takes(|endpoint| endpoint.internal) || !takes(|endpoint| endpoint.external) {
        return false;
    }
    for (endpoint, weight) in endpoints.iter().zip(weights.iter_mut()) {
        if which(endpoint) {
            *weight = 0;
        }
    }
    true
}

/// A number that depends on a text and a seed and on nothing else (FNV-1a).
pub fn hash(seed: u64, text: &str) -> u64 {
    text.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_that_fit() {
        assert_eq!(scaled(&[1, 2, 0], 100), [1, 2, 0]);
        assert_eq!(scaled(&[1_000_000, 500_000, 1, 0], 100), [100, 50, 1, 0]);
        assert_eq!(scaled(&[u64::MAX, 1], u16::MAX), [u16::MAX, 1]);
        assert!(scaled(&[], 100).is_empty());
    }

    #[test]
    fn annotations_are_parsed_or_named() {
        let attributes =
            Attributes::from([("a".to_owned(), " 7 ".to_owned()), ("b".to_owned(), "x".to_owned())]);
        assert_eq!(parsed::<u16>(&attributes, "a"), Ok(Some(7)));
        assert_eq!(parsed::<u16>(&attributes, "c"), Ok(None));
        assert!(parsed::<u16>(&attributes, "b").unwrap_err().starts_with("b: `x`"));
        assert_eq!(items(" a, ,b,").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn patterns_fit_whole_texts() {
        assert!(fits("prod-*", "prod-a") && fits("*", "") && fits("a*c", "abc"));
        assert!(!fits("prod-*", "dev-prod-a") && !fits("a*a", "a") && !fits("a", "ab"));
    }

    #[test]
    fn the_last_endpoint_is_never_quiesced() {
        let endpoint = |port: u16| Endpoint {
            address: ([10, 0, 0, 1], port).into(),
            ready: true,
            serving: true,
            terminating: false,
            local: false,
            internal: true,
            external: false,
            zone: None,
            node: None,
            slice: None,
            ready_since: None,
        };
        let endpoints = [endpoint(1), endpoint(2)];
        let mut weights = [5, 5];
        assert!(quiesce(&mut weights, &endpoints, |e| e.address.port() == 1));
        assert_eq!(weights, [0, 5]);
        assert!(!quiesce(&mut weights, &endpoints, |_| true));
        assert_eq!(weights, [0, 5]);
        assert!(quiesce(&mut [], &[], |_| true));
    }
}
