//! `policy.weir/persistence`

use std::time::Duration;

use weir_plugin_sdk::value::FromText;
use weir_plugin_sdk::{Family, Persistence};

/// `off`, `session-affinity`, or a time with the prefix lengths of IPv4 and IPv6 addresses that identify a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Off,
    SessionAffinity,
    On { seconds: u32, ipv4: u8, ipv6: u8 },
}

impl FromText for Wanted {
    fn from_text(text: &str) -> Result<Wanted, String> {
        match text.trim() {
            "off" => Ok(Wanted::Off),
            "session-affinity" => Ok(Wanted::SessionAffinity),
            text => on(text).ok_or_else(|| {
                "`off`, `session-affinity`, or a time from 1s to 24h like `10m`, with prefix lengths for IPv4 and IPv6 \
                 like `10m/24/64` to treat neighbours as one client"
                    .to_owned()
            }),
        }
    }
}

fn on(text: &str) -> Option<Wanted> {
    let mut parts = text.split('/');
    let time = Duration::from_text(parts.next()?).ok()?.as_secs();
    let seconds = u32::try_from(time).ok().filter(|seconds| (1..=86_400).contains(seconds))?;
    let mut prefix = |most: u8| match parts.next() {
        None => Some(most),
        Some(text) => u8::from_text(text).ok().filter(|length| (1..=most).contains(length)),
    };
    let (ipv4, ipv6) = (prefix(32)?, prefix(128)?);
    parts.next().is_none().then_some(Wanted::On { seconds, ipv4, ipv6 })
}

impl Wanted {
    pub(crate) fn of(self, family: Family) -> Persistence {
        match self {
            Wanted::Off => Persistence::Off,
            Wanted::SessionAffinity => Persistence::SessionAffinity,
            Wanted::On { seconds, ipv4, ipv6 } => Persistence::On(
                seconds,
                match family {
                    Family::Ipv4 => ipv4,
                    Family::Ipv6 => ipv6,
                },
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_prefixes_are_read() {
        let on = |seconds, ipv4, ipv6| Ok(Wanted::On { seconds, ipv4, ipv6 });
        assert_eq!(Wanted::from_text("10m"), on(600, 32, 128));
        assert_eq!(Wanted::from_text("90/24"), on(90, 24, 128));
        assert_eq!(Wanted::from_text("24h/16/64"), on(86_400, 16, 64));
        for text in ["", "0", "25h", "10m/0", "10m/33", "10m/24/129", "10m/24/64/1", "10m/", "on", "OFF"] {
            assert!(Wanted::from_text(text).is_err(), "{text}");
        }
    }
}
