//! Times in the API's format (RFC 3339).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Parses a time such as `2006-01-02T15:04:05Z` into seconds since 1970; fractions are truncated, offsets applied.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone);
    let clock = match clock.split_once('.') {
        Some((clock, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) => {
            clock
        }
        Some(_) => return None,
        None => clock,
    };
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds - offset(zone)?)
}

/// Parses a time with its fraction of a second, to the nanosecond.
pub(crate) fn parse_precisely(text: &str) -> Option<SystemTime> {
    let seconds = Duration::from_secs(parse(text)?.unsigned_abs());
    let whole =
        if parse(text)? < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) }?;
    let Some((_, rest)) = text.split_once('.') else { return Some(whole) };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).take(9).collect();
    let nanoseconds: u32 = format!("{digits:0<9}").parse().ok()?;
    whole.checked_add(Duration::from_nanos(nanoseconds.into()))
}

/// A zone's offset from UTC in seconds.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next()? {
        'Z' | 'z' => return (zone.len() == 1).then_some(0),
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let [hours, minutes] = numbers(&zone[1..], ':', [2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Numbers of the given widths with a separator between them, and nothing else.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        if !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    // Days between the first days of the years 1 and 1970.
    let years = before * 365 + leap_days - 719_162;
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-23T10:20:30Z", 1_795_429_230),
            ("2026-11-23T10:20:30.999999Z", 1_795_429_230),
            ("2026-11-23T12:20:30+02:00", 1_795_429_230),
            ("2026-11-23T05:50:30-04:30", 1_795_429_230),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn fractions_are_kept_where_they_count() {
        let since = |text: &str| parse_precisely(text).unwrap().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(since("1970-01-01T00:00:01Z"), Duration::from_secs(1));
        assert_eq!(since("1970-01-01T02:00:01.25+02:00"), Duration::from_millis(1250));
        assert_eq!(since("1970-01-01T00:00:00.1234567891Z"), Duration::from_nanos(123_456_789));
        assert_eq!(parse_precisely("1970-01-01T00:00:00.Z"), None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T10:20:30",
            "2026-11-23 10:20:30Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-1-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+2:00",
            "2026-01-01T00:00:00+02:é",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
