//! Byte counts as people read them.

/// Decimal units with three significant digits, as Docker prints sizes: `5.27MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (u128::from(bytes) * 1000, 0);
    while value >= 1_000_000 && unit + 1 < UNITS.len() {
        value /= 1000;
        unit += 1;
    }
    let (whole, thousandths) = (value / 1000, value % 1000);
    let digits = match whole {
        0..=9 => 2,
        10..=99 => 1,
        _ => 0,
    };
    let fraction = format!("{thousandths:03}");
    let fraction = fraction[..digits].trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn three_significant_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (5_270_000, "5.27MB"),
            (12_345_678, "12.3MB"),
            (473_000_000, "473MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
