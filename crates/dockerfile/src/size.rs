//! Sizes with units, as `--mount=type=tmpfs,size=128m` has them.

use crate::InvalidValue;

/// Parses a number of bytes; `k`, `m`, `g`, `t` and `p` are powers of 1024, with or without `b` or `ib` after them.
pub(crate) fn parse(text: &str) -> Result<u64, InvalidValue> {
    let invalid = || InvalidValue::new(format!("`{text}` is not a size such as `128m`"));
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(invalid()),
    };
    let factor = 1_u64 << (10 * power);
    if !number.contains('.') {
        let number: u64 = number.parse().map_err(|_| invalid())?;
        return number.checked_mul(factor).ok_or_else(invalid);
    }
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let bytes = number * factor as f64;
    if bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err(invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("128m", 128 << 20),
            ("1.5 KiB", 1536),
            ("2GB", 2 << 30),
            ("7b", 7),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1.2.3k", "99999999999p"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
