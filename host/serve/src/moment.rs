//! Points in time as in Go: one clock reading for display, one for differences.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time. Differences come from the monotonic clock, so that setting the clock does not make anything late;
/// the wall clock is for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For differences.
    pub monotonic: Instant,
    /// For display.
    pub wall: SystemTime,
}

/// The clock used for answers.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

impl Moment {
    /// The present.
    pub fn now() -> Moment {
        Moment { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The time since an earlier moment; zero if that moment is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.monotonic.saturating_duration_since(earlier.monotonic)
    }

    /// This moment plus some time.
    pub fn after(self, time: Duration) -> Moment {
        Moment { monotonic: self.monotonic + time, wall: self.wall + time }
    }
}

/// The zero value of Go's `time.Time`, which stands for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

const DAY: u64 = 86_400;

/// Go's RFC3339Nano in UTC: up to nine decimals of the second, without trailing zeros.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    // No running node's clock is before 1970; such a time is shown as 1970.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / DAY, since.as_secs() % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if since.subsec_nanos() > 0 {
        let decimals = format!("{:09}", since.subsec_nanos());
        // Writing to a String cannot fail.
        let _ = write!(text, ".{}", decimals.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Year, month and day of a day since 1970. Eras of 400 years have the same number of days; within one, years are
/// counted from March, so that the leap day is the last of its year (Howard Hinnant, "chrono-compatible low-level
/// date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    const DAYS_TO_1970: u64 = 719_468;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Go 1.26: `json.Marshal(time.Unix(s, n).UTC())`.
    #[test]
    fn times_are_printed_as_go_does() {
        let text = |seconds, nanos| rfc3339(UNIX_EPOCH + Duration::new(seconds, nanos));
        for (nanos, expected) in [
            (0, "2025-10-09T08:53:20Z"),
            (1, "2025-10-09T08:53:20.000000001Z"),
            (1000, "2025-10-09T08:53:20.000001Z"),
            (120_000_000, "2025-10-09T08:53:20.12Z"),
            (500_000_000, "2025-10-09T08:53:20.5Z"),
            (999_999_999, "2025-10-09T08:53:20.999999999Z"),
        ] {
            assert_eq!(text(1_760_000_000, nanos), expected);
        }
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(text(seconds, 0), expected);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_time_pass() {
        let start = Moment::now();
        let later = Moment { monotonic: start.monotonic + Duration::from_secs(3), wall: UNIX_EPOCH };
        assert_eq!(later.since(start), Duration::from_secs(3));
        assert_eq!(start.since(later), Duration::ZERO);
    }
}
