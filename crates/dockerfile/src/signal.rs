//! Signals by name or number, as STOPSIGNAL and container engines take them.

use crate::{InvalidValue, nearest};

const NAMES: [(&str, i32); 37] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("RTMIN", RTMIN),
    ("RTMAX", RTMAX),
    ("UNUSED", 31),
];

/// The C library keeps the first two real-time signals for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal: `9`, `KILL`, `SIGKILL` and `sigrtmin+3` are all signals.
///
/// # Errors
///
/// What is none of Linux' signals; a mistyped name comes with the nearest one.
pub fn parse(text: &str) -> Result<i32, InvalidValue> {
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            1..=RTMAX => Ok(number),
            _ => Err(InvalidValue::new(format!("there is no signal {number}"))),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
        return Ok(*number);
    }
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    let meant = nearest(name, NAMES.iter().map(|(n, _)| *n));
    let meant = meant.map(|n| format!("SIG{n}"));
    Err(InvalidValue::new(format!("there is no signal `{text}`")).or_meant(meant.as_deref()))
}

/// `RTMIN+n` and `RTMAX-n`.
fn real_time(name: &str) -> Option<i32> {
    let number = |digits: &str| digits.parse::<u8>().ok().map(i32::from);
    let signal = match name.strip_prefix("RTMIN+") {
        Some(digits) => RTMIN + number(digits)?,
        None => RTMAX - number(name.strip_prefix("RTMAX-")?)?,
    };
    (RTMIN..=RTMAX).contains(&signal).then_some(signal)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("SIGRTMIN", 34),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIG", "FOO", "RTMIN+31", "SIGSIGKILL"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let hint = parse("SIGTREM").unwrap_err().hint.unwrap();
        assert_eq!(hint, "did you mean `SIGTERM`?");
    }
}
