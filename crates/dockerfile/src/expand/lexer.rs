//! One pass over a word.

use super::{
    Empty, Environment, ExpandError, ExpandErrorKind as Kind, Expanded, ExpandedWords, MAX_GROWTH,
    MAX_NESTING, Names, pattern,
};

/// How much of a word an error shows.
const SHOWN: usize = 80;

type Result<T> = std::result::Result<T, Kind>;

pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
    escape: char,
    /// Whether quotes group, or are text as in heredocs.
    quotes: bool,
    /// Whether `$` means anything.
    variables: bool,
    env: &'a dyn Environment,
    names: Names,
    depth: u32,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(
        source: &'a str,
        escape: char,
        quotes: bool,
        env: &'a dyn Environment,
    ) -> Self {
        Self {
            source,
            at: 0,
            escape,
            quotes,
            variables: true,
            env,
            names: Names::default(),
            depth: 0,
        }
    }

    pub(super) fn without_variables(source: &'a str) -> Self {
        let mut lexer = Self::new(source, '\\', true, &Empty);
        lexer.variables = false;
        lexer
    }

    pub(super) fn word(mut self) -> std::result::Result<Expanded, ExpandError> {
        let mut sink = Sink::new(self.source.len(), false);
        self.until(None, false, &mut sink)
            .map_err(|kind| self.error(kind))?;
        Ok(Expanded {
            text: sink.text,
            names: self.names,
        })
    }

    pub(super) fn words(mut self) -> std::result::Result<ExpandedWords, ExpandError> {
        let mut sink = Sink::new(self.source.len(), true);
        self.until(None, false, &mut sink)
            .map_err(|kind| self.error(kind))?;
        sink.flush();
        Ok(ExpandedWords {
            words: sink.words,
            names: self.names,
        })
    }

    fn error(&self, kind: Kind) -> ExpandError {
        let end = self.source.floor_char_boundary(SHOWN);
        let more = if end < self.source.len() { "…" } else { "" };
        ExpandError {
            word: format!("{}{more}", &self.source[..end]),
            kind,
        }
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads up to an unprotected `stop` and past it, or to the end if there is none to find.
    ///
    /// `keep_escapes`: escapes stay in the text, for patterns have their own use for them.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool, sink: &mut Sink) -> Result<()> {
        loop {
            self.run_of_plain_text(stop, sink)?;
            let Some(c) = self.next() else {
                return match stop {
                    None => Ok(()),
                    Some('/') => Err(Kind::MissingSlash),
                    Some(_) => Err(Kind::MissingBrace),
                };
            };
            match c {
                c if Some(c) == stop => return Ok(()),
                '$' if self.variables => {
                    let value = self.dollar()?;
                    sink.plain(&value)?;
                }
                '\'' if self.quotes => self.single_quoted(sink)?,
                '"' if self.quotes => self.double_quoted(keep_escapes, sink)?,
                c if c == self.escape => {
                    if keep_escapes {
                        sink.protected_char(c)?;
                    }
                    if let Some(c) = self.next() {
                        sink.protected_char(c)?;
                    }
                }
                c => sink.plain(c.encode_utf8(&mut [0; 4]))?,
            }
        }
    }

    /// Takes what cannot mean anything in one go: bodies of heredocs can be long.
    fn run_of_plain_text(&mut self, stop: Option<char>, sink: &mut Sink) -> Result<()> {
        let rest = &self.source.as_bytes()[self.at..];
        let special = |b: &u8| {
            let c = char::from(*b);
            matches!(b, b'$' | b'\'' | b'"') || c == self.escape || Some(c) == stop
        };
        let end = rest.iter().position(special).unwrap_or(rest.len());
        let run = &self.source[self.at..self.at + end];
        self.at += end;
        sink.plain(run)
    }

    fn single_quoted(&mut self, sink: &mut Sink) -> Result<()> {
        let rest = &self.source[self.at..];
        let end = rest.find('\'').ok_or(Kind::Quote { quote: '\'' })?;
        self.at += end + 1;
        sink.protected(&rest[..end])
    }

    fn double_quoted(&mut self, keep_escapes: bool, sink: &mut Sink) -> Result<()> {
        loop {
            match self.next().ok_or(Kind::Quote { quote: '"' })? {
                '"' => return Ok(()),
                '$' if self.variables => {
                    let value = self.dollar()?;
                    sink.protected(&value)?;
                }
                c if c == self.escape => {
                    // Only these can be escaped in double quotes; before others it is text.
                    let escaped = self
                        .peek()
                        .filter(|n| matches!(n, '"' | '$') || *n == self.escape);
                    if keep_escapes || (escaped.is_none() && self.peek().is_some()) {
                        sink.protected_char(c)?;
                    }
                    if let Some(c) = escaped {
                        self.next();
                        sink.protected_char(c)?;
                    }
                }
                c => sink.protected_char(c)?,
            }
        }
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Result<String> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name {
                "" => "$".to_owned(),
                name => self.value(name).unwrap_or_default().to_owned(),
            });
        }
        self.next();
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(Kind::Nesting);
        }
        let value = self.braced()?;
        self.depth -= 1;
        Ok(value)
    }

    /// What follows a `${`.
    fn braced(&mut self) -> Result<String> {
        if self.peek().is_none() {
            return Err(Kind::MissingBrace);
        }
        let name = self.name();
        if name.is_empty() {
            return Err(match self.peek() {
                Some('}' | '{' | ':') | None => Kind::NoName,
                Some(c) => Kind::Modifier {
                    modifier: c.to_string(),
                },
            });
        }
        let modifier = self.next().ok_or(Kind::MissingBrace)?;
        match modifier {
            '}' => Ok(self.value(name).unwrap_or_default().to_owned()),
            ':' => match self.next().ok_or(Kind::MissingBrace)? {
                kind @ ('-' | '+' | '?') => self.conditional(name, kind, true),
                c => Err(Kind::Modifier {
                    modifier: format!(":{c}"),
                }),
            },
            '-' | '+' | '?' => self.conditional(name, modifier, false),
            '#' | '%' => self.strip(name, modifier == '#'),
            '/' => self.replace(name),
            c => Err(Kind::Modifier {
                modifier: c.to_string(),
            }),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`, and with a colon, to which empty is unset.
    fn conditional(&mut self, name: &str, modifier: char, colon: bool) -> Result<String> {
        let word = self.operand('}', false)?;
        let value = self.value(name);
        let present = value.filter(|v| !(colon && v.is_empty()));
        match (modifier, present) {
            ('-', Some(value)) | ('?', Some(value)) => Ok(value.to_owned()),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, None) => {
                let default = match value {
                    Some(_) => "is not allowed to be empty",
                    None => "is not allowed to be unset",
                };
                let message = match word {
                    word if word.is_empty() => default.to_owned(),
                    word => word,
                };
                Err(Kind::Required {
                    name: name.to_owned(),
                    message,
                })
            }
            (_, Some(value)) => Ok(value.to_owned()),
        }
    }

    /// `${name#pattern}`, `${name%pattern}`, doubled for the longest match.
    fn strip(&mut self, name: &str, prefix: bool) -> Result<String> {
        let word = self.operand('}', true)?;
        let (longest, pattern) = match word.strip_prefix(if prefix { '#' } else { '%' }) {
            Some(pattern) => (true, pattern),
            None => (false, word.as_str()),
        };
        let pattern = pattern::Pattern::new(pattern)?;
        let value = self.value(name).unwrap_or_default();
        Ok(match prefix {
            true => pattern.strip_prefix(value, longest)?.to_owned(),
            false => pattern.strip_suffix(value, longest)?.to_owned(),
        })
    }

    /// `${name/pattern/replacement}`, with two slashes first for all matches.
    fn replace(&mut self, name: &str) -> Result<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.operand('/', true)?;
        let replacement = self.operand('}', true)?;
        let pattern = pattern::Pattern::new(&pattern)?;
        let value = self.value(name).unwrap_or_default();
        let limit = self.source.len() + MAX_GROWTH;
        pattern.replace(value, &replacement, all, limit)
    }

    fn operand(&mut self, stop: char, keep_escapes: bool) -> Result<String> {
        let mut sink = Sink::new(self.source.len(), false);
        self.until(Some(stop), keep_escapes, &mut sink)?;
        Ok(sink.text)
    }

    /// A name, the digits of a positional parameter, or one character of a special one.
    fn name(&mut self) -> &'a str {
        let rest = &self.source[self.at..];
        let first = rest.chars().next();
        let end = match first {
            Some('0'..='9') => rest.find(|c: char| !c.is_ascii_digit()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
            _ => rest.find(|c: char| !c.is_alphanumeric() && c != '_'),
        };
        let name = &rest[..end.unwrap_or(rest.len())];
        self.at += name.len();
        name
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        let starts_a_name = |c: char| c.is_alphabetic() || c == '_';
        if !name.starts_with(starts_a_name) {
            return None;
        }
        let value = self.env.get(name);
        let names = match value {
            Some(_) => &mut self.names.used,
            None => &mut self.names.undefined,
        };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        value
    }
}

/// Where text goes, split into words if asked for.
struct Sink {
    text: String,
    words: Vec<String>,
    split: bool,
    /// What may still come.
    room: usize,
}

impl Sink {
    fn new(source: usize, split: bool) -> Self {
        Self {
            text: String::new(),
            words: Vec::new(),
            split,
            room: source + MAX_GROWTH,
        }
    }

    fn protected(&mut self, text: &str) -> Result<()> {
        self.room = self.room.checked_sub(text.len()).ok_or(Kind::TooLarge)?;
        self.text.push_str(text);
        Ok(())
    }

    fn protected_char(&mut self, c: char) -> Result<()> {
        self.protected(c.encode_utf8(&mut [0; 4]))
    }

    /// Text in which white space ends words.
    fn plain(&mut self, text: &str) -> Result<()> {
        if !self.split {
            return self.protected(text);
        }
        let mut pieces = text.split(char::is_whitespace);
        if let Some(first) = pieces.next() {
            self.protected(first)?;
        }
        for piece in pieces {
            self.flush();
            self.protected(piece)?;
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.words.push(std::mem::take(&mut self.text));
        }
    }
}
