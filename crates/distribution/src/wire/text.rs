//! Words from the other side, made fit to be shown.

/// `text` without control characters (terminal escapes among them), direction marks and line breaks, cut at `limit`
/// characters.
#[must_use]
pub fn sanitised(text: &str, limit: usize) -> String {
    let mut clean = String::new();
    let mut space = false;
    let mut count = 0;
    for c in text.chars() {
        if is_unfit(c) || c.is_whitespace() {
            space = !clean.is_empty();
            continue;
        }
        if count >= limit {
            clean.push('…');
            break;
        }
        if space {
            clean.push(' ');
            count += 1;
            space = false;
        }
        clean.push(c);
        count += 1;
    }
    clean
}

/// Control characters, and marks that change the direction or the joining of what stands around them.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_escapes_away_and_cuts() {
        assert_eq!(sanitised("\u{1b}[31mred\u{7}\r\nnext", 100), "[31mred next");
        assert_eq!(sanitised("a\u{202e}b", 100), "a b");
        assert_eq!(sanitised("  a  b  ", 100), "a b");
        assert_eq!(sanitised("abcdef", 3), "abc…");
        assert_eq!(sanitised("", 3), "");
    }
}
