//! From text to pieces: what stands between the braces as words, all else as text.

use super::{Result, TemplateError};

/// A word between braces.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.`
    Dot,
    /// `.Name`; one each of `.A.B`.
    Field(String),
    /// `$name`, or `$` for the whole.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    /// A quoted text.
    Text(String),
    /// A whole number, or a quoted character.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// A word with where it is, and whether something that is no blank stands right before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) at: usize,
    pub(super) glued: bool,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action { words: Vec<Spanned>, at: usize },
}

/// Cuts a template into pieces.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim = false;
    while let Some(found) = text[at..].find("{{") {
        let open = at + found;
        let mut inside = open + 2;
        let mut before = &text[at..open];
        if trim {
            before = before.trim_start_matches(BLANKS);
        }
        if begins_with_trim(&text[inside..]) {
            before = before.trim_end_matches(BLANKS);
            inside += 1;
        }
        push_text(&mut pieces, before);
        let rest = text[inside..].trim_start_matches(BLANKS);
        if rest.starts_with("/*") {
            let start = text.len() - rest.len();
            (at, trim) = comment(text, start)?;
            continue;
        }
        let mut words = Words { text, at: inside };
        let (list, trims) = words.all(open)?;
        pieces.push(Piece::Action {
            words: list,
            at: open,
        });
        at = words.at;
        trim = trims;
    }
    let mut last = &text[at..];
    if trim {
        last = last.trim_start_matches(BLANKS);
    }
    push_text(&mut pieces, last);
    Ok(pieces)
}

/// What the trim marks take away.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn begins_with_trim(text: &str) -> bool {
    text.strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(BLANKS))
}

/// Where a comment's action ends, and whether it takes the blanks behind it away.
fn comment(text: &str, start: usize) -> Result<(usize, bool)> {
    let end = text[start..]
        .find("*/")
        .ok_or_else(|| TemplateError::new(start, "a comment has no end"))?;
    let after = start + end + 2;
    let rest = &text[after..];
    if rest.starts_with("}}") {
        return Ok((after + 2, false));
    }
    let trimmed = rest.trim_start_matches(BLANKS);
    if trimmed.len() < rest.len() && trimmed.starts_with("-}}") {
        return Ok((text.len() - trimmed.len() + 3, true));
    }
    Err(TemplateError::new(
        after,
        "`}}` must follow the end of a comment",
    ))
}

/// The words of one action.
struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// All words up to the closing braces, and whether the blanks behind those go.
    fn all(&mut self, open: usize) -> Result<(Vec<Spanned>, bool)> {
        let mut words = Vec::new();
        let mut glued = false;
        loop {
            let rest = self.rest();
            if rest.starts_with("}}") {
                self.at += 2;
                return Ok((words, false));
            }
            let trimmed = rest.trim_start_matches(BLANKS);
            if trimmed.len() < rest.len() {
                self.at = self.text.len() - trimmed.len();
                glued = false;
                if trimmed.starts_with("-}}") {
                    self.at += 3;
                    return Ok((words, true));
                }
                continue;
            }
            let at = self.at;
            let Some(first) = rest.chars().next() else {
                return Err(TemplateError::new(open, "`{{` has no `}}`"));
            };
            let token = self.word(first)?;
            words.push(Spanned { token, at, glued });
            glued = true;
        }
    }

    fn word(&mut self, first: char) -> Result<Token> {
        let at = self.at;
        let two = self.rest().get(..2).unwrap_or_default();
        let (token, length) = match first {
            '|' => (Token::Pipe, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            ':' if two == ":=" => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '"' => return self.quoted(),
            '`' => return self.raw(),
            '\'' => return self.character(),
            '$' => {
                let name = name(&self.rest()[1..]).to_owned();
                let length = 1 + name.len();
                (Token::Variable(name), length)
            }
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let name = name(&self.rest()[1..]);
                if name.is_empty() {
                    (Token::Dot, 1)
                } else {
                    (Token::Field(name.to_owned()), 1 + name.len())
                }
            }
            '0'..='9' | '+' | '-' | '.' => return self.number(),
            _ => {
                let name = name(self.rest()).to_owned();
                if name.is_empty() {
                    return Err(TemplateError::new(
                        at,
                        format!("`{}` has no meaning here", first.escape_debug()),
                    ));
                }
                let length = name.len();
                (Token::Word(name), length)
            }
        };
        self.at += length;
        Ok(token)
    }

    fn number(&mut self) -> Result<Token> {
        let rest = self.rest();
        let length = rest
            .char_indices()
            .find(|(at, c)| {
                let sign =
                    (*c == '+' || *c == '-') && (*at == 0 || rest[..*at].ends_with(['e', 'E']));
                !(c.is_ascii_alphanumeric() || *c == '.' || *c == '_' || sign)
            })
            .map_or(rest.len(), |(at, _)| at);
        let word = &rest[..length];
        let plain = word.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let whole = match digits.get(..2) {
            Some("0x" | "0X") => i64::from_str_radix(&digits[2..], 16),
            Some("0o" | "0O") => i64::from_str_radix(&digits[2..], 8),
            Some("0b" | "0B") => i64::from_str_radix(&digits[2..], 2),
            _ => digits.parse(),
        };
        let token = match whole {
            Ok(number) if number >= 0 => Token::Int(sign * number),
            _ => match plain.parse::<f64>() {
                Ok(number)
                    if number.is_finite()
                        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') =>
                {
                    Token::Float(number)
                }
                _ => {
                    return Err(TemplateError::new(
                        self.at,
                        format!("`{}` is no number", word.escape_debug()),
                    ));
                }
            },
        };
        self.at += length;
        Ok(token)
    }

    fn raw(&mut self) -> Result<Token> {
        let inside = &self.rest()[1..];
        let end = inside
            .find('`')
            .ok_or_else(|| TemplateError::new(self.at, "a quoted text has no end"))?;
        let text = inside[..end].to_owned();
        self.at += end + 2;
        Ok(Token::Text(text))
    }

    fn quoted(&mut self) -> Result<Token> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next_character(start)? {
                ('"', false) => return Ok(Token::Text(text)),
                (c, _) => text.push(c),
            }
        }
    }

    fn character(&mut self) -> Result<Token> {
        let start = self.at;
        self.at += 1;
        let (c, _) = self.next_character(start)?;
        if !self.rest().starts_with('\'') {
            return Err(TemplateError::new(
                start,
                "`'` is for one character; a text is quoted with `\"`",
            ));
        }
        self.at += 1;
        Ok(Token::Int(i64::from(u32::from(c))))
    }

    /// The next character of a quoted text, and whether it was escaped.
    fn next_character(&mut self, start: usize) -> Result<(char, bool)> {
        let no_end = || TemplateError::new(start, "a quoted text has no end");
        let first = self.rest().chars().next().ok_or_else(no_end)?;
        self.at += first.len_utf8();
        if first != '\\' {
            return Ok((first, false));
        }
        let at = self.at;
        let escaped = self.rest().chars().next().ok_or_else(no_end)?;
        self.at += escaped.len_utf8();
        let simple = match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '"' | '\'' => escaped,
            'x' | 'u' | 'U' => {
                let digits = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let code = self.rest().get(..digits).and_then(|hex| {
                    hex.chars()
                        .all(|c| c.is_ascii_hexdigit())
                        .then(|| u32::from_str_radix(hex, 16).ok())?
                });
                let found = code.and_then(char::from_u32).ok_or_else(|| {
                    TemplateError::new(
                        at,
                        format!("`\\{escaped}` needs {digits} digits of a character"),
                    )
                })?;
                self.at += digits;
                found
            }
            other => {
                return Err(TemplateError::new(
                    at,
                    format!("`\\{}` is no escape", other.escape_debug()),
                ));
            }
        };
        Ok((simple, true))
    }
}

/// The name that `text` begins with.
fn name(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}
