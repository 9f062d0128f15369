//! Points in time as people type them: `--since`, `--until`.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::Error;

/// Reads a time: how long ago (`90m`, `1h30m`, `7d`), seconds since 1970, RFC 3339, or a date with or without a time, in UTC.
///
/// # Errors
///
/// The text has another form, or means a time that no clock shows.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    read(text.trim(), now).ok_or_else(|| Error::Moment(text.to_owned()))
}

fn read(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some((seconds, nanos)) = seconds(text) {
        return Timestamp::new(seconds, nanos).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Some(ago) = ago(text) {
        return now.checked_sub(ago).ok();
    }
    // A zone that was not understood must not be dropped.
    let time = match text.parse::<Date>() {
        Ok(date) if text.len() == 10 => date.to_datetime(jiff::civil::Time::midnight()),
        _ if text.ends_with(|last: char| last.is_ascii_digit()) && !text.contains('+') => {
            text.parse::<DateTime>().ok()?
        }
        _ => return None,
    };
    Some(TimeZone::UTC.to_zoned(time).ok()?.timestamp())
}

/// `1136073600` or `1136073600.000000001`.
fn seconds(text: &str) -> Option<(i64, i32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Some((whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// Numbers with `h`, `m`, `s`, `ms` one after the other, or days.
fn ago(text: &str) -> Option<SignedDuration> {
    if let Some(days) = text.strip_suffix('d') {
        let days: i64 = days.parse().ok().filter(|days| *days >= 0)?;
        return Some(SignedDuration::from_secs(days.checked_mul(86400)?));
    }
    let plain = text.starts_with(|first: char| first.is_ascii_digit()) && !text.contains(' ');
    let duration = plain.then(|| text.parse::<SignedDuration>().ok())??;
    (!duration.is_negative()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_docker_reads_them() {
        let now: Timestamp = "2026-02-03T04:05:06Z".parse().unwrap();
        for (text, meaning) in [
            ("90m", "2026-02-03T02:35:06Z"),
            ("1h30m", "2026-02-03T02:35:06Z"),
            ("1.5h", "2026-02-03T02:35:06Z"),
            ("10s", "2026-02-03T04:04:56Z"),
            ("2d", "2026-02-01T04:05:06Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1136073600", "2006-01-01T00:00:00Z"),
            ("1136073600.5", "2006-01-01T00:00:00.5Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.25Z", "2026-01-02T03:04:05.25Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
        ] {
            let found = moment(text, now).unwrap().to_string();
            assert_eq!(found, meaning, "{text}");
        }
        for text in [
            "",
            "x",
            "-1h",
            "1y2",
            "1e9",
            "2026-13-01",
            "2026-01-02T03:04:05+x",
            "d",
            "-2d",
            "h",
            "99999999999999999999",
            "999999999999d",
            "1h x",
            "2026-01-02[Europe/Nowhere]",
        ] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
