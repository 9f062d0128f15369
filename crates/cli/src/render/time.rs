//! Points in time and durations as people read them.

use jiff::{SignedDuration, Timestamp};

/// How long ago `then` was, in Docker's words: `3 hours ago`. An unreadable time is `N/A`.
pub(crate) fn ago(then: &str, now: Timestamp) -> String {
    let Ok(then) = then.parse::<Timestamp>() else {
        return "N/A".to_owned();
    };
    if then.as_second() <= 0 {
        return "N/A".to_owned();
    }
    format!("{} ago", rough(now.duration_since(then)))
}

/// A duration with one unit: `2 hours`, `About a minute`.
pub(crate) fn rough(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        3600..7200 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Seconds with one decimal, as the build's lines have them: `1.2s`.
pub(crate) fn seconds(seconds: f64) -> String {
    format!("{seconds:.1}s")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    #[test]
    fn words_are_dockers() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        for (then, words) in [
            ("2026-01-10T12:00:00Z", "Less than a second ago"),
            ("2026-01-10T11:59:20Z", "40 seconds ago"),
            ("2026-01-10T11:58:50Z", "About a minute ago"),
            ("2026-01-10T11:00:00Z", "About an hour ago"),
            ("2026-01-09T12:00:00Z", "24 hours ago"),
            ("2026-01-01T12:00:00Z", "9 days ago"),
            ("1970-01-01T00:00:00Z", "N/A"),
            ("soon", "N/A"),
        ] {
            assert_eq!(super::ago(then, now), words);
        }
    }
}
