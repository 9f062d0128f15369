//! Finding `<<NAME` on a line, as a shell would.

use std::ops::Range;

use crate::ast::Heredoc;
use crate::expand;

/// A heredoc's announcement on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Where it stands on the line.
    pub(crate) range: Range<usize>,
    /// The heredoc, without its body.
    pub(crate) heredoc: Heredoc,
}

/// The heredocs that a line announces, in order. None if the line's quotes do not match up: then
/// nobody can tell what is quoted.
pub(crate) fn find(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut words = Words { line, at: 0 };
    loop {
        match words.next_word() {
            Ok(Some(range)) => tokens.extend(token(line, range)),
            Ok(None) => return tokens,
            Err(Unbalanced) => return Vec::new(),
        }
    }
}

/// Whether a line is nothing but one heredoc's announcement.
pub(crate) fn is_whole_line(line: &str) -> bool {
    let line = line.trim();
    matches!(&*find(line), [token] if token.range == (0..line.len()))
}

/// Reads a word as `[digits]<<[-][blanks]NAME`.
fn token(line: &str, range: Range<usize>) -> Option<Token> {
    let word = &line[range.clone()];
    let digits = word.find(|c: char| !c.is_ascii_digit())?;
    let (fd, rest) = word.split_at(digits);
    let rest = rest.strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let name = rest.trim_start();
    if name.contains('<') {
        return None;
    }
    let unquoted = expand::unquoted(name).ok()?;
    if unquoted.is_empty() {
        return None;
    }
    let heredoc = Heredoc {
        name: unquoted.into_owned(),
        fd: fd.parse().ok(),
        expand: !has_quotes(name),
        strip_tabs,
        body: String::new(),
        span: crate::Span::default(),
    };
    Some(Token { range, heredoc })
}

fn has_quotes(word: &str) -> bool {
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

struct Unbalanced;

/// The words of a line, quotes and escapes kept. The escape is `\` here, whatever the file's is:
/// these lines are the shell's.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl Words<'_> {
    fn next_word(&mut self) -> Result<Option<Range<usize>>, Unbalanced> {
        let blanks = |c: char| c.is_whitespace();
        self.at += self.rest().len() - self.rest().trim_start_matches(blanks).len();
        let start = self.at;
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\'' => self.skip_past_single_quote()?,
                '"' => self.skip_past_double_quote()?,
                '\\' => self.skip_chars(2),
                '<' if self.rest().starts_with("<<") => self.skip_announcement(start),
                c if c.is_whitespace() => break,
                c => self.at += c.len_utf8(),
            }
        }
        Ok((self.at > start).then_some(start..self.at))
    }

    fn rest(&self) -> &str {
        &self.line[self.at..]
    }

    fn skip_chars(&mut self, count: usize) {
        let skipped: usize = self.rest().chars().take(count).map(char::len_utf8).sum();
        self.at += skipped;
    }

    fn skip_past_single_quote(&mut self) -> Result<(), Unbalanced> {
        let end = self.rest()[1..].find('\'').ok_or(Unbalanced)?;
        self.at += end + 2;
        Ok(())
    }

    fn skip_past_double_quote(&mut self) -> Result<(), Unbalanced> {
        self.at += 1;
        loop {
            let end = self.rest().find(['"', '\\']).ok_or(Unbalanced)?;
            self.at += end;
            if self.rest().starts_with('"') {
                self.at += 1;
                return Ok(());
            }
            self.skip_chars(2);
        }
    }

    /// Skips `<<`, or `<<-` at the head of a word, and the blanks that may stand before the name.
    fn skip_announcement(&mut self, start: usize) {
        let head = self.line[start..self.at]
            .bytes()
            .all(|b| b.is_ascii_digit());
        self.at += 2;
        if head && self.rest().starts_with('-') {
            self.at += 1;
        }
        let name = self.rest().trim_start_matches(['\t', '\r', ' ']);
        if !name.is_empty() {
            self.at = self.line.len() - name.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{find, is_whole_line};

    fn names(line: &str) -> Vec<(String, bool, bool)> {
        let found = find(line).into_iter().map(|t| t.heredoc);
        found.map(|h| (h.name, h.expand, h.strip_tabs)).collect()
    }

    fn one(line: &str) -> (String, bool, bool) {
        let [name] = <[_; 1]>::try_from(names(line)).unwrap();
        name
    }

    #[test]
    fn f052_quoting_any_part_of_the_delimiter_turns_expansion_off() {
        assert_eq!(one("RUN <<eo'f'"), ("eof".into(), false, false));
        assert_eq!(one(r"RUN <<eo\'f"), ("eo'f".into(), true, false));
        assert_eq!(one(r"RUN <<'e'o\'f"), ("eo'f".into(), false, false));
        assert_eq!(one("RUN <<'one two' x"), ("one two".into(), false, false));
    }

    #[test]
    fn f053_a_dollar_in_the_delimiter_is_text() {
        assert_eq!(one("RUN <<$EOF"), ("$EOF".into(), true, false));
        assert_eq!(one("RUN <<${EOF}"), ("${EOF}".into(), true, false));
    }

    #[test]
    fn f054_blanks_before_the_delimiter() {
        assert_eq!(one("RUN << EOF"), ("EOF".into(), true, false));
        assert_eq!(one("RUN <<- EOF"), ("EOF".into(), true, true));
        assert_eq!(one("RUN << -EOF"), ("-EOF".into(), true, false));
        assert_eq!(one("RUN <<  EOF  > foo"), ("EOF".into(), true, false));
    }

    #[test]
    fn f055_quoted_and_tripled_are_no_heredocs() {
        for line in [
            r#"RUN echo "<<X""#,
            "RUN echo '<<X'",
            "RUN cat <<< x",
            "RUN cat <<<x",
            "RUN a <<",
            "RUN a <<-",
            "RUN a <<''",
            "RUN <b cat<<X",
            r"RUN a \<<X",
            r#"RUN "unbalanced <<X"#,
        ] {
            assert_eq!(names(line), [], "{line}");
        }
    }

    #[test]
    fn f049_file_descriptors() {
        let fds: Vec<_> = find("RUN <<EOF 3<<IN1 4<<-IN2 awk")
            .iter()
            .map(|t| t.heredoc.fd)
            .collect();
        assert_eq!(fds, [None, Some(3), Some(4)]);
    }

    #[test]
    fn whole_lines() {
        assert!(is_whole_line("<<EOF"));
        assert!(is_whole_line("3<<- 'E F' "));
        assert!(!is_whole_line("<<EOF sh"));
        assert!(!is_whole_line("<<A <<B"));
    }
}
