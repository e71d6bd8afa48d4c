//! Durations as Go writes them: `30s`, `1m30s`, `1.5h`, `100ms`.

use std::time::Duration;

/// Parses a non-negative duration like Go's `time.ParseDuration`: a sequence of decimal numbers with units, or a bare
/// `0`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = tail;
    }
    // Go counts nanoseconds in 63 bits.
    let fits = i64::try_from(total.as_nanos()).is_ok();
    (!text.is_empty() && fits).then_some(total)
}

/// Formats a duration as Go does.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        let nanos = duration.subsec_nanos();
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", decimal(nanos / 1_000, nanos % 1_000, 3)),
            _ => format!("{}ms", decimal(nanos / 1_000_000, nanos % 1_000_000, 6)),
        };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal((seconds % 60).try_into().unwrap_or_default(), duration.subsec_nanos(), 9);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// A number with its decimal places, without trailing zeros.
fn decimal(whole: u32, fraction: u32, places: usize) -> String {
    let text = format!("{whole}.{fraction:0places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let written = [
            ("0", "0s"),
            ("24h", "24h0m0s"),
            ("900s", "15m0s"),
            ("90s", "1m30s"),
            ("30s", "30s"),
            ("1.5s", "1.5s"),
            ("3601.25s", "1h0m1.25s"),
            ("100ms", "100ms"),
            ("1500us", "1.5ms"),
            ("10us", "10µs"),
            ("7ns", "7ns"),
        ];
        for (text, expected) in written {
            assert_eq!(format_duration(parse_duration(text).unwrap()), expected);
        }
    }

    #[test]
    fn go_durations_are_read() {
        let millis = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("1.5h"), Some(5_400_000));
        assert_eq!(millis("100ms"), Some(100));
        assert_eq!(millis("0"), Some(0));
        assert_eq!(millis("0s"), Some(0));
        assert_eq!(millis("+1s"), Some(1000));
        for text in ["", "30", "s", "1d", "-1s", "1s2", "..s", "1e3s", "99999999999999999999h", "2562048h"] {
            assert_eq!(millis(text), None, "{text}");
        }
    }
}
