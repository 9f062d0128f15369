//! Variables in words: `$name`, `${name}` with all its modifiers, quotes and escapes.
//!
//! [`word`] gives one word as most instructions want it, [`words`] splits the result as EXPOSE
//! does, [`text`] expands heredoc bodies, in which quotes mean nothing. All of them are bounded:
//! nesting by [`MAX_NESTING`], growth by [`MAX_GROWTH`], matching by [`MAX_MATCH_WORK`].

mod lexer;
mod pattern;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::InvalidValue;
use lexer::Lexer;

/// Deepest nesting of `${…}` in each other: people write two, machines perhaps five.
pub const MAX_NESTING: u32 = 32;

/// How much longer than its source an expanded text may be. The kernel takes no environment
/// string over 128 KiB, so that nothing useful is near this.
pub const MAX_GROWTH: usize = 1 << 20;

/// Most steps that matching one pattern may cost: its length times the value's. Takes well under
/// a second.
pub const MAX_MATCH_WORK: usize = 1 << 28;

/// Where variables get their values.
pub trait Environment {
    /// The value of a variable; `None` if it is not set, which is not the same as empty.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

impl Environment for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// Pairs in order; of several with one name the last counts.
impl Environment for [(String, String)] {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// `NAME=value` entries as an image config has them; of several with one name the last counts.
impl Environment for [String] {
    fn get(&self, name: &str) -> Option<&str> {
        let value = |entry: &'_ String| -> Option<usize> {
            let rest = entry.strip_prefix(name)?;
            rest.starts_with('=').then_some(name.len() + 1)
        };
        let found = self.iter().rev().find_map(|e| Some((e, value(e)?)));
        found.map(|(entry, at)| &entry[at..])
    }
}

/// Nothing is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl Environment for Empty {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

/// An expanded word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The result.
    pub text: String,
    /// Which variables were asked for.
    pub names: Names,
}

/// Words that one word expanded to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpandedWords {
    /// The words, none of them empty.
    pub words: Vec<String>,
    /// Which variables were asked for.
    pub names: Names,
}

/// The variables that an expansion looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Those that were set.
    pub used: BTreeSet<String>,
    /// Those that were not, parameters such as `$1` and `$@` apart, which never are.
    pub undefined: BTreeSet<String>,
}

impl Names {
    /// Takes over what another expansion looked up.
    pub fn merge(&mut self, other: Self) {
        self.used.extend(other.used);
        self.undefined.extend(other.undefined);
    }
}

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}{}", in_word(word, kind))]
pub struct ExpandError {
    /// The word, shortened if it is long.
    pub word: String,
    /// What is wrong with it.
    pub kind: ExpandErrorKind,
}

fn in_word(word: &str, kind: &ExpandErrorKind) -> String {
    match kind {
        ExpandErrorKind::Required { .. } => String::new(),
        _ => format!(" in `{word}`"),
    }
}

/// The kinds of [`ExpandError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandErrorKind {
    /// `${name` without its end.
    #[error("missing `}}` of `${{`")]
    MissingBrace,
    /// `${name/pattern` without the second slash.
    #[error("missing second `/` of `${{…/…/…}}`")]
    MissingSlash,
    /// `${}`, `${:-x}`, `${{x}`: no name where one has to be.
    #[error("no variable name after `${{`")]
    NoName,
    /// `${name=…}` and others that shells have and Dockerfiles do not.
    #[error("unsupported modifier `{modifier}`")]
    Modifier {
        /// What follows the name.
        modifier: String,
    },
    /// A quote that nothing closes.
    #[error("unbalanced `{quote}`")]
    Quote {
        /// Which.
        quote: char,
    },
    /// `${name:?message}` or `${name?message}`, and the variable is not there.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message, expanded.
        message: String,
    },
    /// A pattern that ends in its escape or escapes what needs none.
    #[error("invalid escape in pattern `{pattern}`")]
    Pattern {
        /// The pattern.
        pattern: String,
    },
    /// More than [`MAX_NESTING`].
    #[error("`${{…}}` nested more than {MAX_NESTING} deep")]
    Nesting,
    /// More than [`MAX_GROWTH`] or [`MAX_MATCH_WORK`].
    #[error("the result is too large")]
    TooLarge,
}

impl From<ExpandError> for InvalidValue {
    fn from(error: ExpandError) -> Self {
        Self::new(error.to_string())
    }
}

/// Expands a word: quotes are removed, escapes resolved, variables replaced. White space stays.
///
/// `escape` is the escape character of the file, [`crate::Directives::escape`].
///
/// ```
/// # use dockerfile::expand::{word, Empty};
/// assert_eq!(word(r#""a b"${x:-'$c'}"#, '\\', &Empty).unwrap().text, "a b$c");
/// ```
///
/// # Errors
///
/// See [`ExpandErrorKind`].
pub fn word(
    word: &str,
    escape: char,
    env: &(impl Environment + ?Sized),
) -> Result<Expanded, ExpandError> {
    Ok(match plain(word, escape) {
        true => Expanded {
            text: word.to_owned(),
            names: Names::default(),
        },
        false => Lexer::new(word, escape, true, &Dyn(env)).word()?,
    })
}

/// Expands a word and splits the result at white space that neither quotes nor an escape protect,
/// in variables' values too.
///
/// # Errors
///
/// See [`ExpandErrorKind`].
pub fn words(
    word: &str,
    escape: char,
    env: &(impl Environment + ?Sized),
) -> Result<ExpandedWords, ExpandError> {
    Lexer::new(word, escape, true, &Dyn(env)).words()
}

/// Expands the body of a heredoc: variables and backslashes count, quotes are text.
///
/// # Errors
///
/// See [`ExpandErrorKind`].
pub fn text(text: &str, env: &(impl Environment + ?Sized)) -> Result<Expanded, ExpandError> {
    Lexer::new(text, '\\', false, &Dyn(env)).word()
}

/// A delimiter of a heredoc without its quotes and escapes; its variables stay text.
pub(crate) fn unquoted(word: &str) -> Result<Cow<'_, str>, ExpandError> {
    if plain(word, '\\') {
        return Ok(word.into());
    }
    Ok(Lexer::without_variables(word).word()?.text.into())
}

/// Whether a word means itself.
fn plain(word: &str, escape: char) -> bool {
    !word
        .bytes()
        .any(|b| matches!(b, b'$' | b'"' | b'\'') || char::from(b) == escape)
}

/// Lets the lexer be compiled once, whatever the environment's type.
struct Dyn<'a, E: ?Sized>(&'a E);

impl<E: Environment + ?Sized> Environment for Dyn<'_, E> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }
}
