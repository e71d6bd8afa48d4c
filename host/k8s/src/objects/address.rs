//! The addresses that an object may name.

use std::net::IpAddr;

use weir_core::net::{Family, parse_ip_sloppy, unusable};

use crate::problem::Problems;

/// Parses an address; `None`, with a problem, if it is invalid.
pub(super) fn address(text: &str, field: impl Into<String>, problems: &mut Problems) -> Option<IpAddr> {
    let address = parse_ip_sloppy(text);
    if address.is_none() {
        problems.note(field, text, "must be an IPv4 or IPv6 address; it is left out");
    }
    address
}

/// Parses an endpoint's address, which must accept traffic from other hosts ([`unusable`]).
pub(super) fn endpoint_address(
    text: &str,
    field: impl Into<String>,
    problems: &mut Problems,
) -> Option<IpAddr> {
    let field = field.into();
    let address = address(text, field.as_str(), problems)?;
    let Some(why) = unusable(address) else { return Some(address) };
    problems.note(field, text, format!("{why} addresses are not allowed here; the endpoint is left out"));
    None
}

/// Parses `IPv4` or `IPv6`, the API's names of the families.
pub(super) fn family(text: &str) -> Option<Family> {
    Family::BOTH.into_iter().find(|family| family.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_left_out() {
        for text in [
            "0.0.0.0",
            "::",
            "127.1.2.3",
            "::1",
            "169.254.1.1",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "239.1.1.1",
            "255.255.255.255",
            "::ffff:127.0.0.1",
            "x",
        ] {
            let mut problems = Problems::of("");
            assert_eq!(endpoint_address(text, "f", &mut problems), None, "{text}");
            assert_eq!(problems.into_vec().len(), 1, "{text}");
        }
        for text in ["10.0.0.1", "010.0.0.01", "fd00::1", "::ffff:10.0.0.1"] {
            let mut problems = Problems::of("");
            assert!(endpoint_address(text, "f", &mut problems).is_some(), "{text}");
            assert!(problems.into_vec().is_empty());
        }
    }

    #[test]
    fn families_have_the_names_of_the_api() {
        assert_eq!(family("IPv4"), Some(Family::V4));
        assert_eq!(family("IPv6"), Some(Family::V6));
        assert_eq!(family("ipv4"), None);
    }
}
