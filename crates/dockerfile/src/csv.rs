//! One line of comma-separated values, quoted as RFC 4180 has it.

use crate::InvalidValue;

/// Splits a line. A field that begins with `"` ends at the matching one, `""` inside it is one.
///
/// # Errors
///
/// A quote that does not surround a whole field.
pub fn fields(line: &str) -> Result<Vec<String>, InvalidValue> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, line)?,
            None => plain_field(rest, line)?,
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

fn plain_field<'a>(rest: &'a str, line: &str) -> Result<(String, &'a str), InvalidValue> {
    let (field, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
    if field.contains('"') {
        let message = format!("a quote in the middle of a field in `{line}`");
        let hint = Some("put the quotes around the whole field: `\"key=value\"`".to_owned());
        return Err(InvalidValue { message, hint });
    }
    Ok((field.to_owned(), after))
}

fn quoted_field<'a>(mut rest: &'a str, line: &str) -> Result<(String, &'a str), InvalidValue> {
    let mut field = String::new();
    loop {
        let Some(at) = rest.find('"') else {
            let message = format!("a quoted field without its closing quote in `{line}`");
            return Err(InvalidValue::new(message));
        };
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(more) = rest.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if rest.is_empty() || rest.starts_with(',') {
            return Ok((field, rest));
        } else {
            let message = format!("text after the closing quote of a field in `{line}`");
            return Err(InvalidValue::new(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn splits_and_unquotes() {
        assert_eq!(fields("a,b=c,").unwrap(), ["a", "b=c", ""]);
        assert_eq!(
            fields(r#""a,b","say ""x""""#).unwrap(),
            ["a,b", "say \"x\""]
        );
        for bad in [r#"a"b"#, r#""a"#, r#""a"b"#] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }
}
