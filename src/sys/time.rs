//! The clock and the calendar: seconds and days since 1970-01-01, dates of the Gregorian calendar, all in UTC.
//!
//! Days and dates are converted as Howard Hinnant describes it in "chrono-Compatible Low-Level Date Algorithms": a year
//! starts in March, so that the leap day is its last one, and the calendar repeats after 400 years.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The seconds of a day.
pub const DAY: u64 = 24 * 60 * 60;

/// The days of 400 years, after which the calendar repeats.
const DAYS_OF_ERA: u64 = 146_097;
/// From 0000-03-01 to 1970-01-01, in days.
const EPOCH: u64 = 719_468;

/// The seconds since 1970 by the system's clock; 0 for a clock that is set to before that.
pub fn now() -> u64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// A time as RFC 3339 writes it, to the second: `2026-11-24T00:00:00Z`.
pub fn timestamp(time: SystemTime) -> String {
    let seconds = seconds(time);
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The number of a day `YYYY-MM-DD` from 1970 to 9999, counted from 1970-01-01. `None` for any other text. Days up to
/// 31 are taken in every month, as days of the month after it.
pub fn day(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(str::parse::<u64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if parts.next().is_some()
        || !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * DAYS_OF_ERA + day_of_era).checked_sub(EPOCH)
}

/// The year, month and day of a day that is counted from 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let day_of_era = days % DAYS_OF_ERA;
    let leap_days = day_of_era / 1460 + day_of_era / (DAYS_OF_ERA - 1) - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = days / DAYS_OF_ERA * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        for (date, expected) in [
            ("1970-01-01", Some(0)),
            ("1970-03-01", Some(59)),
            ("2000-02-29", Some(11_016)),
            ("2026-11-24", Some(20_781)),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("1969-01-01", None),
            ("x", None),
            ("2026-11-24-1", None),
        ] {
            assert_eq!(day(date), expected, "{date}");
        }
    }

    #[test]
    fn timestamps() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_478_400, "2026-11-24T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    /// Every day of a whole period of the calendar, against the lengths of the months.
    #[test]
    fn every_day_has_its_date_and_back() {
        let mut expected = (1970, 1, 1);
        for number in 0..DAYS_OF_ERA + 366 {
            assert_eq!(date(number), expected);
            let (year, month, of_month) = expected;
            assert_eq!(day(&format!("{year:04}-{month:02}-{of_month:02}")), Some(number));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, of_month) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == length => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
    }
}
