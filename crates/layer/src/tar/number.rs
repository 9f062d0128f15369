//! Numbers as tar headers hold them.

/// A number in a header field: octal digits between spaces or NULs, nothing at all (0), or base 256 if the first bit is set.
///
/// `None` for anything else, among it digits behind a NUL, where readers differ.
pub(super) fn field(bytes: &[u8]) -> Option<i128> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes),
        _ => octal(bytes).map(i128::from),
    }
}

fn octal(bytes: &[u8]) -> Option<u64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = bytes.iter().position(|byte| !blank(byte)) else {
        return Some(0);
    };
    let end = bytes.iter().rposition(|byte| !blank(byte))?;
    let mut value = 0u64;
    for byte in &bytes[start..=end] {
        if !matches!(byte, b'0'..=b'7') {
            return None;
        }
        value = value.checked_mul(8)? + u64::from(byte - b'0');
    }
    Some(value)
}

/// Two's complement, big end first; the first bit marks the form and the second the sign.
fn base256(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in bytes.iter().enumerate() {
        let mut byte = *byte;
        if index == 0 && !negative {
            byte &= 0x7f;
        }
        value = value.checked_mul(256)? + i128::from(byte);
        // Wider than any field means; also keeps the sum far from its own limits.
        if !(i128::from(i64::MIN) * 4..=i128::from(i64::MAX) * 4).contains(&value) {
            return None;
        }
    }
    Some(value)
}

/// A decimal number without sign, as in PAX records.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(value)
}

/// Seconds with an optional fraction and sign, rounded down to nanoseconds.
pub(super) fn time(bytes: &[u8]) -> Option<crate::Time> {
    let (negative, digits) = match bytes.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let secs = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0;
    let mut rest = false;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for place in 0..9 {
            nanos = nanos * 10 + u32::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
        }
        rest = fraction.iter().skip(9).any(|digit| *digit != b'0');
    }
    if negative {
        let below = nanos + u32::from(rest);
        if below == 0 {
            return Some(crate::Time {
                secs: -secs,
                nanos: 0,
            });
        }
        return Some(crate::Time {
            secs: -secs - 1,
            nanos: 1_000_000_000 - below,
        });
    }
    Some(crate::Time { secs, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;

    #[test]
    fn octal_in_every_padding() {
        for text in [
            &b"0000644\0"[..],
            b"   644 \0",
            b"644\0\0\0\0\0",
            b"644     ",
            b"0000644 ",
            b"\0\0\0\x00644\0",
        ] {
            assert_eq!(field(text), Some(0o644), "{text:?}");
        }
        assert_eq!(field(b"        "), Some(0));
        assert_eq!(field(b"\0\0\0\0"), Some(0));
        for text in [&b"8\0"[..], b"-1\0", b"12\x0034\0", b"1 2"] {
            assert_eq!(field(text), None, "{text:?}");
        }
    }

    #[test]
    fn base_256_with_sign() {
        assert_eq!(
            field(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
            Some(1 << 33)
        );
        assert_eq!(field(&[0xff; 12]), Some(-1));
        assert_eq!(
            field(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]),
            Some(-2)
        );
        assert_eq!(
            field(&[
                0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ]),
            None
        );
    }

    #[test]
    fn times_before_and_after_the_epoch() {
        assert_eq!(
            time(b"12.5"),
            Some(Time {
                secs: 12,
                nanos: 500_000_000
            })
        );
        assert_eq!(time(b"12"), Some(Time::from_secs(12)));
        assert_eq!(
            time(b"-1.25"),
            Some(Time {
                secs: -2,
                nanos: 750_000_000
            })
        );
        assert_eq!(time(b"-1"), Some(Time::from_secs(-1)));
        assert_eq!(
            time(b"0.1234567899"),
            Some(Time {
                secs: 0,
                nanos: 123_456_789
            })
        );
        assert_eq!(
            time(b"-0.0000000001"),
            Some(Time {
                secs: -1,
                nanos: 999_999_999
            })
        );
        for bad in [
            &b""[..],
            b".5",
            b"1e3",
            b"--1",
            b"1.2.3",
            b"99999999999999999999",
        ] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }
}
