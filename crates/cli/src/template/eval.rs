//! Printing a tree over a value.

use std::borrow::Cow;

use serde_json::Value;

use super::functions;
use super::parse::{Base, Branch, Command, Node, Operand, Pipeline};
use super::print;
use super::{Data, Labels, Result, TemplateError};

/// Most steps of one template: loops in loops over large values end here.
const MOST_STEPS: u32 = 2_000_000;

/// Most rounds of a loop over a number.
const MOST_ROUNDS: usize = 100_000;

/// Largest output, 64 MiB.
const LARGEST: usize = 64 << 20;

/// A value, or that there is none.
#[derive(Debug, Clone)]
pub(super) enum Found<'d> {
    /// Nothing has this name.
    Missing,
    Value(Cow<'d, Value>),
}

impl<'d> Found<'d> {
    pub(super) fn of(value: impl Into<Value>) -> Self {
        Self::Value(Cow::Owned(value.into()))
    }

    const fn borrowed(value: &'d Value) -> Self {
        Self::Value(Cow::Borrowed(value))
    }

    /// The value; nothing is null.
    pub(super) fn value(&self) -> &Value {
        match self {
            Self::Missing => &Value::Null,
            Self::Value(value) => value,
        }
    }

    /// What `if` asks.
    pub(super) fn is_true(&self) -> bool {
        match self.value() {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
        }
    }

    /// The part of it that `step` leads to.
    fn into_part(self, step: impl for<'v> Fn(&'v Value) -> Option<&'v Value>) -> Self {
        match self {
            Self::Missing => Self::Missing,
            Self::Value(Cow::Borrowed(value)) => step(value).map_or(Self::Missing, Self::borrowed),
            Self::Value(Cow::Owned(value)) => {
                step(&value).map_or(Self::Missing, |part| Self::of(part.clone()))
            }
        }
    }
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

pub(super) fn print(nodes: &[Node], data: &Data) -> Result<String> {
    let mut printer = Printer {
        data,
        output: String::new(),
        variables: Vec::new(),
        steps: 0,
    };
    printer.nodes(nodes, &Found::borrowed(&data.root))?;
    Ok(printer.output)
}

struct Printer<'d> {
    data: &'d Data,
    output: String,
    variables: Vec<(String, Found<'d>)>,
    steps: u32,
}

impl<'d> Printer<'d> {
    fn step(&mut self, at: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > MOST_STEPS {
            return Err(TemplateError::new(at, "this takes too many steps"));
        }
        if self.output.len() > LARGEST {
            return Err(TemplateError::new(at, "the output is too large"));
        }
        Ok(())
    }

    /// A large value that is made or copied counts as many steps.
    fn weigh(&mut self, value: Found<'d>, at: usize) -> Result<Found<'d>> {
        if let Found::Value(Cow::Owned(owned)) = &value {
            let weight = match owned {
                Value::String(text) => text.len() / 64,
                Value::Array(list) => list.len(),
                Value::Object(map) => map.len(),
                Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            };
            self.steps = self
                .steps
                .saturating_add(u32::try_from(weight).unwrap_or(u32::MAX));
        }
        self.step(at)?;
        Ok(value)
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Found<'d>) -> Result<Flow> {
        let outside = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            self.step(0)?;
            flow = match node {
                Node::Text(text) => {
                    self.output.push_str(text);
                    Flow::On
                }
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    print::value(&value, &mut self.output);
                    Flow::On
                }
                Node::Set(pipeline) => {
                    self.pipeline(pipeline, dot)?;
                    Flow::On
                }
                Node::If(branch) => self.choose(branch, dot, false)?,
                Node::With(branch) => self.choose(branch, dot, true)?,
                Node::Range(branch) => {
                    self.range(branch, dot)?;
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(outside);
        Ok(flow)
    }

    fn choose(&mut self, branch: &Branch, dot: &Found<'d>, with: bool) -> Result<Flow> {
        let outside = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if value.is_true() {
            self.nodes(&branch.body, if with { &value } else { dot })
        } else {
            self.nodes(&branch.otherwise, dot)
        };
        self.variables.truncate(outside);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Found<'d>) -> Result<()> {
        let pipeline = &branch.pipeline;
        let over = self.commands(pipeline, dot)?;
        let items = items(over, pipeline.at)?;
        if items.is_empty() {
            self.nodes(&branch.otherwise, dot)?;
            return Ok(());
        }
        for (key, item) in items {
            self.step(pipeline.at)?;
            let outside = self.variables.len();
            match &pipeline.names[..] {
                [element] => self.name(element, item.clone(), pipeline)?,
                [index, element] => {
                    self.name(index, Found::of(key), pipeline)?;
                    self.name(element, item.clone(), pipeline)?;
                }
                _ => {}
            }
            let flow = self.nodes(&branch.body, &item)?;
            self.variables.truncate(outside);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// Gives a variable its value.
    fn name(&mut self, name: &str, value: Found<'d>, pipeline: &Pipeline) -> Result<()> {
        if pipeline.declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match known {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => Err(unknown_variable(name, pipeline.at)),
        }
    }

    /// The value of a pipeline, which its name has afterwards.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Found<'d>) -> Result<Found<'d>> {
        let value = self.commands(pipeline, dot)?;
        if let [name] = &pipeline.names[..] {
            self.name(name, value.clone(), pipeline)?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Found<'d>) -> Result<Found<'d>> {
        let mut value = None;
        for command in &pipeline.commands {
            self.step(command.head.at)?;
            value = Some(self.command(command, value, dot)?);
        }
        // The parser makes no pipeline without a command.
        Ok(value.unwrap_or(Found::Missing))
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<Found<'d>>,
        dot: &Found<'d>,
    ) -> Result<Found<'d>> {
        let head = &command.head;
        if let Base::Function(name) = &head.base {
            return self.call(name, command, piped, dot);
        }
        if command.arguments.is_empty() && piped.is_none() {
            return self.operand(head, dot);
        }
        let arguments = self.arguments(command, piped, dot)?;
        match (head.fields.last().map(String::as_str), &arguments[..]) {
            (Some("Label"), [name]) if !matches!(self.data.labels, Labels::None) => {
                let name = name.value().as_str().unwrap_or_default();
                Ok(match &self.data.labels {
                    Labels::Of(labels) => labels.get(name).map_or(Found::of(""), Found::borrowed),
                    Labels::Names | Labels::None => Found::of(name),
                })
            }
            _ => Err(TemplateError::new(
                head.at,
                format!("{} takes no arguments, it is no function", shown(head)),
            )
            .hint(format!(
                "functions are named without a dot: {}",
                functions::NAMES.join(", ")
            ))),
        }
    }

    fn arguments(
        &mut self,
        command: &Command,
        piped: Option<Found<'d>>,
        dot: &Found<'d>,
    ) -> Result<Vec<Found<'d>>> {
        let mut arguments = Vec::with_capacity(command.arguments.len() + 1);
        for operand in &command.arguments {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        Ok(arguments)
    }

    fn call(
        &mut self,
        name: &str,
        command: &Command,
        piped: Option<Found<'d>>,
        dot: &Found<'d>,
    ) -> Result<Found<'d>> {
        let at = command.head.at;
        // These two stop at the first value that decides.
        if name == "and" || name == "or" {
            let mut last = None;
            for operand in &command.arguments {
                let value = self.operand(operand, dot)?;
                if value.is_true() == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            return piped
                .or(last)
                .ok_or_else(|| TemplateError::new(at, format!("`{name}` needs a value")));
        }
        if !functions::NAMES.contains(&name) {
            return Err(TemplateError::new(
                at,
                format!("there is no function `{}`", name.escape_debug()),
            )
            .hint(format!(
                "known are {}; a field begins with a dot: `.{}`",
                functions::NAMES.join(", "),
                name.escape_debug()
            )));
        }
        let arguments = self.arguments(command, piped, dot)?;
        let result =
            functions::call(name, &arguments).map_err(|why| TemplateError::new(at, why))?;
        let result = self.weigh(result, at)?;
        if !command.head.fields.is_empty() {
            return follow(result, &command.head, false);
        }
        Ok(result)
    }

    fn operand(&mut self, operand: &Operand, dot: &Found<'d>) -> Result<Found<'d>> {
        let (value, is_root) = match &operand.base {
            Base::Dot => (dot.clone(), is_same(dot, &self.data.root)),
            Base::Variable(name) if name.is_empty() => (Found::borrowed(&self.data.root), true),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some((_, value)) = known else {
                    return Err(unknown_variable(name, operand.at));
                };
                let value = value.clone();
                let is_root = is_same(&value, &self.data.root);
                (self.weigh(value, operand.at)?, is_root)
            }
            Base::Literal(value) => (Found::of(value.clone()), false),
            Base::Group(pipeline) => {
                let outside = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                self.variables.truncate(outside);
                (value, false)
            }
            Base::Function(name) => {
                let command = Command {
                    head: operand.clone(),
                    arguments: Vec::new(),
                };
                return self.call(name, &command, None, dot);
            }
        };
        follow(value, operand, is_root)
    }
}

/// True if this is the whole and not a part of it.
fn is_same(found: &Found<'_>, root: &Value) -> bool {
    matches!(found, Found::Value(Cow::Borrowed(value)) if std::ptr::eq(*value, root))
}

/// Goes along the fields of `operand`. A name that the whole does not have is a mistake; further down it is no value.
fn follow<'d>(value: Found<'d>, operand: &Operand, mut is_root: bool) -> Result<Found<'d>> {
    let mut value = value;
    for field in &operand.fields {
        match value.value() {
            Value::Null => return Ok(Found::Missing),
            Value::Object(map) => {
                if is_root && !map.contains_key(field) {
                    let names: Vec<_> = map.keys().map(String::as_str).collect();
                    return Err(TemplateError::new(
                        operand.at,
                        format!("there is no field `.{field}`"),
                    )
                    .hint(format!("there are {}", names.join(", "))));
                }
            }
            other => {
                return Err(TemplateError::new(
                    operand.at,
                    format!("{} has no fields, `.{field}` is none", print::kind(other)),
                ));
            }
        }
        value = value.into_part(|value| value.get(field));
        is_root = false;
    }
    Ok(value)
}

/// What `range` goes through, with index or key.
fn items(over: Found<'_>, at: usize) -> Result<Vec<(Value, Found<'_>)>> {
    let numbered = |list: usize| (0..list).map(Value::from);
    Ok(match over {
        Found::Missing => Vec::new(),
        Found::Value(Cow::Borrowed(Value::Array(list))) => numbered(list.len())
            .zip(list.iter().map(Found::borrowed))
            .collect(),
        Found::Value(Cow::Borrowed(Value::Object(map))) => {
            let mut items: Vec<_> = map.iter().collect();
            items.sort_by_key(|(key, _)| *key);
            items
                .into_iter()
                .map(|(key, value)| (Value::from(key.as_str()), Found::borrowed(value)))
                .collect()
        }
        Found::Value(value) => match value.into_owned() {
            Value::Null => Vec::new(),
            Value::Array(list) => numbered(list.len())
                .zip(list.into_iter().map(Found::of))
                .collect(),
            Value::Object(map) => {
                let mut items: Vec<_> = map.into_iter().collect();
                items.sort_by(|one, other| one.0.cmp(&other.0));
                items
                    .into_iter()
                    .map(|(key, value)| (Value::from(key), Found::of(value)))
                    .collect()
            }
            Value::Number(number) if number.is_i64() => {
                let count = usize::try_from(number.as_i64().unwrap_or(0)).unwrap_or(0);
                if count > MOST_ROUNDS {
                    return Err(TemplateError::new(at, "this takes too many steps"));
                }
                numbered(count).map(|i| (i.clone(), Found::of(i))).collect()
            }
            other => {
                let message = format!("`range` cannot go through {}", print::kind(&other));
                return Err(TemplateError::new(at, message));
            }
        },
    })
}

fn unknown_variable(name: &str, at: usize) -> TemplateError {
    TemplateError::new(at, format!("there is no variable `${name}`"))
}

fn shown(operand: &Operand) -> String {
    match operand.fields.last() {
        Some(field) => format!("`.{field}`"),
        None => "this".to_owned(),
    }
}
