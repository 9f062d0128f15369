//! Durations as Go writes them: `1h30m`, `1.5s`, `100ms`.

use crate::InvalidValue;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // the micro sign
    ("μs", 1_000), // the Greek letter
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a duration to nanoseconds.
///
/// ```
/// assert_eq!(dockerfile::duration::parse("1m0.5s").unwrap(), 60_500_000_000);
/// ```
///
/// # Errors
///
/// Text that is no sequence of numbers with units (only `0` needs none), or too long a time.
pub fn parse(text: &str) -> Result<i64, InvalidValue> {
    let invalid = || InvalidValue {
        message: format!("`{text}` is not a duration"),
        hint: Some("durations look like `30s`, `1m30s` or `500ms`".to_owned()),
    };
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanoseconds, after) = part(rest).ok_or_else(invalid)?;
        total = total.checked_add(nanoseconds).ok_or_else(invalid)?;
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -total } else { total })
}

/// One number with its unit.
fn part(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;

    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let mut nanoseconds = whole.checked_mul(*factor)?;
    // Digit by digit: what is below a nanosecond falls away.
    let mut place = *factor;
    for digit in fraction.bytes() {
        nanoseconds = nanoseconds.checked_add(u64::from(digit - b'0') * place / 10)?;
        place /= 10;
    }
    Some((nanoseconds, rest))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn as_go() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1µs", 1_000),
            ("0.000001s", 1_000),
            ("1.5m", 90_000_000_000),
        ] {
            assert_eq!(parse(text).unwrap(), nanoseconds, "{text}");
        }
        for bad in [
            "",
            "3",
            "-",
            "s",
            ".s",
            "1x",
            "1.2.3s",
            "1 s",
            "99999999999h",
            "1s3",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
