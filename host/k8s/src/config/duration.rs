//! Durations as Go writes them: `30s`, `1m30s`, `1.5h`, `100ms`.

use std::time::Duration;

/// Reads a duration that is not negative. Go's `time.ParseDuration` is the model: a sequence of decimal numbers
/// with units, or a bare `0`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
