//! Strict parsing of text in annotations and configurations: an unreadable value is never replaced by a default, but
//! causes an error that names the place, the value and the fix.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use weir_plugin_views::Attributes;

/// Parses a label or annotation as a `bool`, a number, a duration, an address, a list and so on; see [`FromText`].
/// Returns `Ok(None)` if the key is absent.
///
/// ```
/// use weir_plugin_sdk::{Attributes, value};
///
/// let annotations = Attributes::from([("example.com/retries".to_owned(), "many".to_owned())]);
/// let error = value::parsed::<u8>(&annotations, "example.com/retries").unwrap_err();
/// assert_eq!(error.to_string(), "example.com/retries is `many`: write a whole number from 0 to 255");
/// ```
///
/// # Errors
/// Names the key, the value and the fix.
pub fn parsed<T: FromText>(attributes: &Attributes, key: &str) -> Result<Option<T>, Malformed> {
    let Some(value) = attributes.get(key) else { return Ok(None) };
    T::from_text(value).map(Some).map_err(|expected| Malformed {
        place: key.to_owned(),
        value: value.clone(),
        expected,
    })
}

/// A type that can be parsed from an annotation.
///
/// | Type | Text |
/// |---|---|
/// | `bool` | `true`, `false` |
/// | `u8`, `u16`, `u32`, `u64` | `0`, `100` |
/// | [`Duration`] | `90`, `90s`, `5m`, `2h`, `1m30s` |
/// | [`IpAddr`] | `192.0.2.1`, `fd00::1` |
/// | [`IpNet`] | `10.0.0.0/8`; a single address is a network with only that address |
/// | `String` | any text that is not empty |
/// | `Vec<T>` | items separated by commas, with optional spaces; an empty text is an empty list |
pub trait FromText: Sized {
    /// Parses the text.
    ///
    /// # Errors
    /// Says what the text should be, worded to follow "write".
    fn from_text(text: &str) -> Result<Self, String>;
}

/// An invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The key, or a description of the place.
    pub place: String,
    /// The value.
    pub value: String,
    /// What the value should be, worded to follow "write".
    pub expected: String,
}

/// The maximum number of characters of a value that an error shows.
const SHOWN: usize = 40;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Malformed { place, value, expected } = self;
        let shown: String = value.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let more = if shown.len() < value.len() { "…" } else { "" };
        write!(f, "{place} is `{shown}{more}`: write {expected}")
    }
}

impl std::error::Error for Malformed {}

impl FromText for bool {
    fn from_text(text: &str) -> Result<bool, String> {
        match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("`true` or `false`".to_owned()),
        }
    }
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl FromText for $type {
            fn from_text(text: &str) -> Result<$type, String> {
                // The standard parser accepts a plus sign, which no other tool here does.
                let text = text.trim();
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                let number = text.parse().ok().filter(|_| digits);
                number.ok_or_else(|| format!("a whole number from 0 to {}", <$type>::MAX))
            }
        }
    )*};
}

unsigned!(u8, u16, u32, u64);

impl FromText for Duration {
    fn from_text(text: &str) -> Result<Duration, String> {
        duration(text.trim()).ok_or_else(|| "a duration like `90s`, `5m` or `1h30m`".to_owned())
    }
}

fn duration(text: &str) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().ok()?));
    }
    let mut rest = text;
    let mut seconds: u64 = 0;
    // Hours before minutes before seconds, each at most once.
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 && rest[digits..].starts_with(unit) {
            let count: u64 = rest[..digits].parse().ok()?;
            seconds = seconds.checked_add(count.checked_mul(length)?)?;
            rest = &rest[digits + 1..];
        }
    }
    (rest.is_empty() && !text.is_empty()).then_some(Duration::from_secs(seconds))
}

impl FromText for IpAddr {
    fn from_text(text: &str) -> Result<IpAddr, String> {
        text.trim().parse().map_err(|_| "an address like `192.0.2.1` or `fd00::1`".to_owned())
    }
}

impl FromText for IpNet {
    fn from_text(text: &str) -> Result<IpNet, String> {
        let text = text.trim();
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network
            .map(|network| network.trunc())
            .ok_or_else(|| "a network like `10.0.0.0/8` or `fd00::/64`".to_owned())
    }
}

impl FromText for String {
    fn from_text(text: &str) -> Result<String, String> {
        let text = text.trim();
        if text.is_empty() {
            Err("a non-empty text, or leave it out".to_owned())
        } else {
            Ok(text.to_owned())
        }
    }
}

impl<T: FromText> FromText for Vec<T> {
    fn from_text(text: &str) -> Result<Vec<T>, String> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let item = |text| {
            T::from_text(text).map_err(|expected| format!("items separated by commas, each {expected}"))
        };
        text.split(',').map(item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read() {
        assert_eq!(bool::from_text(" true "), Ok(true));
        assert_eq!(u16::from_text("65535"), Ok(65535));
        assert_eq!(Vec::<String>::from_text("a, b ,c"), Ok(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(Vec::<u16>::from_text(" "), Ok(Vec::new()));
        assert_eq!(IpNet::from_text("10.1.2.3/8").map(|net| net.to_string()), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(IpNet::from_text("fd00::1").map(|net| net.to_string()), Ok("fd00::1/128".to_owned()));
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("2h1s", 7201), ("1m30s", 90)]
        {
            assert_eq!(Duration::from_text(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "1d",
            "30s1m",
            "1.5h",
            "-1s",
            "5 m",
            "1m1m",
            "99999999999999999999",
            "9999999999999999999h",
        ] {
            assert!(Duration::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_default() {
        for text in ["True", "1", "yes", ""] {
            assert!(bool::from_text(text).is_err(), "{text}");
        }
        for text in ["65536", "-1", "+1", "1e3", "0x10", "", "١"] {
            assert!(u16::from_text(text).is_err(), "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0/8", "fd00::/129", "lan", ""] {
            assert!(IpNet::from_text(text).is_err(), "{text}");
        }
        assert!(Vec::<String>::from_text("a,,b").is_err());
        assert!(IpAddr::from_text("::ffff:1.2.3.4.5").is_err());
    }

    #[test]
    fn an_error_names_place_value_and_fix() {
        let malformed = |value: &str| Malformed {
            place: "policy.weir/weights".to_owned(),
            value: value.to_owned(),
            expected: u16::from_text(value).unwrap_err(),
        };
        assert_eq!(
            malformed("ten").to_string(),
            "policy.weir/weights is `ten`: write a whole number from 0 to 65535"
        );
        let long = malformed(&format!("a\nb{}", "ü".repeat(100))).to_string();
        assert!(long.starts_with("policy.weir/weights is `a bü") && long.contains("ü…`: write"), "{long}");
    }
}
