//! `Warning: 299 - "text"`: what a registry wants a person to know.

use super::text::sanitised;

/// The most that is kept of all warnings of one answer together, as the specification has it.
const MAX_WARNINGS: usize = 4096;

/// The texts of `Warning` headers with code 299 and agent `-`; others are ignored, as the specification wants it.
pub fn read_warnings<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut room = MAX_WARNINGS;
    let mut warnings = Vec::new();
    for header in headers {
        let Some(quoted) = header.trim().strip_prefix("299 - \"") else {
            continue;
        };
        let mut text = String::new();
        let mut escaped = false;
        for c in quoted.chars() {
            match c {
                _ if escaped => {
                    escaped = false;
                    text.push(c);
                }
                '\\' => escaped = true,
                '"' => break,
                c => text.push(c),
            }
        }
        let text = sanitised(&text, room);
        if text.is_empty() || text.len() > room {
            continue;
        }
        room -= text.len();
        warnings.push(text);
    }
    warnings
}

/// The header for `text`.
#[must_use]
pub fn warning_header(text: &str) -> String {
    let text = sanitised(text, MAX_WARNINGS / 2)
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    format!("299 - \"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let header = warning_header("say \"hi\" \\ \u{1b}[1m");
        assert_eq!(read_warnings([header.as_str()]), ["say \"hi\" \\ [1m"]);
        assert!(read_warnings(["199 - \"x\"", "299 host \"x\"", "", "299 - \"\""]).is_empty());
        let long = format!("299 - \"{}\"", "x".repeat(3000));
        assert_eq!(read_warnings([long.as_str(), long.as_str()]).len(), 1);
    }
}
