//! From pieces to a tree.

use serde_json::Value;

use super::lex::{Piece, Spanned, Token};
use super::{Result, TemplateError};

/// How deep blocks and parentheses may lie in each other.
const DEEPEST: usize = 64;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `{{$x := …}}` without output.
    Set(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

/// A block with what happens otherwise; `else if` is an `If` alone in there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before; the last value may get names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    /// One name, or for `range` index and element.
    pub(super) names: Vec<String>,
    /// The names are new, not those of variables that exist.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    /// What is called, or the value.
    pub(super) head: Operand,
    pub(super) arguments: Vec<Operand>,
}

/// A value with a path of fields into it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    Dot,
    /// The empty name is the whole.
    Variable(String),
    Function(String),
    Literal(Value),
    Group(Box<Pipeline>),
}

/// Makes a tree of the pieces.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>> {
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        loops: 0,
        depth: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        None => Ok(nodes),
        Some((end, at)) => Err(TemplateError::new(
            at,
            format!("`{}` ends nothing", end.word()),
        )),
    }
}

/// What ends a list of nodes.
enum Stop {
    End,
    Else,
    /// With the words behind `else if`.
    ElseIf(Vec<Spanned>),
    /// With the words behind `else with`.
    ElseWith(Vec<Spanned>),
}

impl Stop {
    const fn word(&self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Else | Self::ElseIf(_) | Self::ElseWith(_) => "else",
        }
    }
}

/// What ended a list of nodes and where, unless it was the end of the template.
type Stopped = Option<(Stop, usize)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    With,
    Range,
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    loops: usize,
    depth: usize,
}

impl Parser {
    /// The nodes up to an `end` or `else`, or to the end.
    fn nodes(&mut self) -> Result<(Vec<Node>, Stopped)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (mut words, at) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { words, at } => (words, at),
            };
            let keyword = match words.first().map(|word| &word.token) {
                Some(Token::Word(word)) => word.clone(),
                Some(_) => String::new(),
                None => {
                    return Err(TemplateError::new(
                        at,
                        "there is nothing between `{{` and `}}`",
                    ));
                }
            };
            let rest = |words: &mut Vec<Spanned>| words.split_off(1);
            nodes.push(match keyword.as_str() {
                "if" => Node::If(self.branch(Block::If, rest(&mut words), at)?),
                "with" => Node::With(self.branch(Block::With, rest(&mut words), at)?),
                "range" => Node::Range(self.branch(Block::Range, rest(&mut words), at)?),
                "break" | "continue" if words.len() == 1 => {
                    if self.loops == 0 {
                        let message = format!("`{keyword}` is outside of `range`");
                        return Err(TemplateError::new(at, message));
                    }
                    if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    }
                }
                "end" if words.len() == 1 => return Ok((nodes, Some((Stop::End, at)))),
                "else" => return Ok((nodes, Some((otherwise(words, at)?, at)))),
                "define" | "template" | "block" => {
                    let message = format!("`{keyword}` is not supported");
                    return Err(TemplateError::new(at, message)
                        .hint("there are no templates inside templates; write the text out"));
                }
                _ => {
                    let pipeline = pipeline(words, at, false)?;
                    if pipeline.names.is_empty() {
                        Node::Print(pipeline)
                    } else {
                        Node::Set(pipeline)
                    }
                }
            });
        }
        Ok((nodes, None))
    }

    /// A block from behind its keyword to its `end`.
    fn branch(&mut self, block: Block, words: Vec<Spanned>, at: usize) -> Result<Branch> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(at));
        }
        let pipeline = pipeline(words, at, block == Block::Range)?;
        self.loops += usize::from(block == Block::Range);
        let body = self.nodes();
        self.loops -= usize::from(block == Block::Range);
        let (body, end) = body?;
        let otherwise = match end {
            Some((Stop::End, _)) => Vec::new(),
            Some((Stop::Else, else_at)) => match self.nodes()? {
                (nodes, Some((Stop::End, _))) => nodes,
                (_, Some((_, at))) => {
                    return Err(TemplateError::new(at, "there was an `else` already"));
                }
                (_, None) => return Err(no_end(else_at)),
            },
            Some((Stop::ElseIf(words), else_at)) if block == Block::If => {
                vec![Node::If(self.branch(block, words, else_at)?)]
            }
            Some((Stop::ElseWith(words), else_at)) if block == Block::With => {
                vec![Node::With(self.branch(block, words, else_at)?)]
            }
            Some((Stop::ElseIf(_) | Stop::ElseWith(_), else_at)) => {
                return Err(TemplateError::new(
                    else_at,
                    "this `else` belongs to another kind of block",
                ));
            }
            None => return Err(no_end(at)),
        };
        self.depth -= 1;
        Ok(Branch {
            pipeline,
            body,
            otherwise,
        })
    }
}

fn otherwise(mut words: Vec<Spanned>, at: usize) -> Result<Stop> {
    match words.get(1).map(|word| &word.token) {
        None => Ok(Stop::Else),
        Some(Token::Word(word)) if word == "if" => Ok(Stop::ElseIf(words.split_off(2))),
        Some(Token::Word(word)) if word == "with" => Ok(Stop::ElseWith(words.split_off(2))),
        Some(_) => Err(TemplateError::new(
            at,
            "`else` stands alone or before `if` or `with`",
        )),
    }
}

fn no_end(at: usize) -> TemplateError {
    TemplateError::new(at, "this block has no `{{end}}`")
}

fn too_deep(at: usize) -> TemplateError {
    TemplateError::new(
        at,
        format!("blocks or parentheses lie more than {DEEPEST} deep in each other"),
    )
}

/// The words of one action as a pipeline; two names are for `range` only.
fn pipeline(words: Vec<Spanned>, at: usize, range: bool) -> Result<Pipeline> {
    let mut words = Words {
        words,
        next: 0,
        at,
        depth: 0,
    };
    let pipeline = words.pipeline(range)?;
    match words.take() {
        None => Ok(pipeline),
        Some(word) => Err(TemplateError::new(word.at, "there is no `(` for this `)`")),
    }
}

struct Words {
    words: Vec<Spanned>,
    /// The first that was not taken.
    next: usize,
    /// Of the action, for what is missing at its end.
    at: usize,
    depth: usize,
}

impl Words {
    fn peek(&self) -> Option<&Spanned> {
        self.words.get(self.next)
    }

    fn take(&mut self) -> Option<Spanned> {
        let word = self.words.get(self.next).cloned();
        self.next += 1;
        word
    }

    fn take_if(&mut self, wanted: impl FnOnce(&Spanned) -> bool) -> Option<Spanned> {
        self.peek().is_some_and(wanted).then(|| self.take())?
    }

    /// Up to the end or a `)`, which stays.
    fn pipeline(&mut self, range: bool) -> Result<Pipeline> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(self.at));
        }
        let at = self.peek().map_or(self.at, |word| word.at);
        let (names, declares) = self.names(range)?;
        let mut commands = vec![self.command()?];
        while let Some(word) = self.take_if(|word| word.token == Token::Pipe) {
            if self.peek().is_none() {
                return Err(TemplateError::new(word.at, "nothing stands behind `|`"));
            }
            commands.push(self.command()?);
        }
        self.depth -= 1;
        Ok(Pipeline {
            names,
            declares,
            commands,
            at,
        })
    }

    /// `$x :=`, `$x =` or `$i, $x :=` at the beginning.
    fn names(&mut self, range: bool) -> Result<(Vec<String>, bool)> {
        let begin = self.next;
        let mut names = Vec::new();
        while let Some(Spanned {
            token: Token::Variable(name),
            at,
            ..
        }) = self.take()
        {
            names.push(name);
            match self.take().map(|word| word.token) {
                Some(Token::Comma) if range && names.len() == 1 => {}
                Some(sign @ (Token::Declare | Token::Assign)) => {
                    if names.iter().any(String::is_empty) {
                        return Err(TemplateError::new(at, "`$` cannot get another value"));
                    }
                    return Ok((names, sign == Token::Declare));
                }
                _ => break,
            }
        }
        self.next = begin;
        Ok((Vec::new(), false))
    }

    /// Operands up to a `|`, a `)` or the end.
    fn command(&mut self) -> Result<Command> {
        let mut operands = Vec::new();
        while let Some(word) = self.peek() {
            if matches!(word.token, Token::Pipe | Token::Close) {
                break;
            }
            operands.push(self.operand()?);
        }
        let mut operands = operands.into_iter();
        let at = self.peek().map_or(self.at, |word| word.at);
        let head = operands
            .next()
            .ok_or_else(|| TemplateError::new(at, "a value is missing"))?;
        Ok(Command {
            head,
            arguments: operands.collect(),
        })
    }

    fn operand(&mut self) -> Result<Operand> {
        let missing = TemplateError::new(self.at, "a value is missing");
        let Some(Spanned { token, at, .. }) = self.take() else {
            return Err(missing);
        };
        let mut fields = Vec::new();
        let base = match token {
            Token::Dot => Base::Dot,
            Token::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            Token::Variable(name) => Base::Variable(name),
            Token::Word(word) => match word.as_str() {
                "true" => Base::Literal(Value::Bool(true)),
                "false" => Base::Literal(Value::Bool(false)),
                "nil" => Base::Literal(Value::Null),
                _ => Base::Function(word),
            },
            Token::Text(text) => Base::Literal(Value::String(text)),
            Token::Int(number) => Base::Literal(number.into()),
            Token::Float(number) => Base::Literal(number.into()),
            Token::Open => {
                let inside = self.pipeline(false)?;
                match self.take().map(|word| word.token) {
                    Some(Token::Close) => Base::Group(Box::new(inside)),
                    _ => return Err(TemplateError::new(at, "there is no `)` for this `(`")),
                }
            }
            Token::Pipe | Token::Close | Token::Comma | Token::Declare | Token::Assign => {
                return Err(TemplateError::new(at, "a value is missing here"));
            }
        };
        while let Some(word) =
            self.take_if(|word| word.glued && matches!(word.token, Token::Field(_)))
        {
            if let Token::Field(name) = word.token {
                fields.push(name);
            }
        }
        Ok(Operand { base, fields, at })
    }
}
