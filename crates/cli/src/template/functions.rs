//! What a template can call.

use std::cmp::Ordering;

use serde_json::Value;

use super::eval::Found;
use super::print;

/// The names, for messages. `and` and `or` are the evaluator's, since they need not look at all arguments.
pub(super) const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "split", "title", "truncate", "upper",
];

/// Longest text that a function makes, 16 MiB.
const LONGEST: usize = 16 << 20;

/// Most parts of a text that is split.
const MOST_PARTS: usize = 100_000;

/// Largest width, precision or padding.
const WIDEST: usize = 10_000;

type Answer = Result<Value, String>;

/// Calls a function that is in [`NAMES`].
pub(super) fn call<'d>(name: &str, arguments: &[Found<'d>]) -> Result<Found<'d>, String> {
    let answer = match (name, arguments) {
        ("json", [value]) => Value::String(value.value().to_string()),
        ("len", [value]) => length(value.value())?,
        ("not", [value]) => Value::Bool(!value.is_true()),
        ("lower", [text]) => texts(text)?.to_lowercase().into(),
        ("upper", [text]) => texts(text)?.to_uppercase().into(),
        ("title", [text]) => title(texts(text)?).into(),
        ("join", [list, between]) => join(list, texts(between)?)?,
        ("split", [text, between]) => split(texts(text)?, texts(between)?)?,
        ("pad", [text, left, right]) => pad(texts(text)?, width(left)?, width(right)?).into(),
        ("truncate", [text, most]) => truncate(texts(text)?, whole(most)?).into(),
        ("index", [value, steps @ ..]) => return index(value, steps),
        ("eq", [value, others @ ..]) if !others.is_empty() => Value::Bool(
            others
                .iter()
                .any(|other| equal(value.value(), other.value())),
        ),
        ("ne", [one, other]) => Value::Bool(!equal(one.value(), other.value())),
        ("lt", [one, other]) => Value::Bool(order(one, other)?.is_lt()),
        ("le", [one, other]) => Value::Bool(order(one, other)?.is_le()),
        ("gt", [one, other]) => Value::Bool(order(one, other)?.is_gt()),
        ("ge", [one, other]) => Value::Bool(order(one, other)?.is_ge()),
        ("print", values) => printed(values).into(),
        ("println", values) => {
            let texts: Vec<_> = values.iter().map(print::text).collect();
            format!("{}\n", texts.join(" ")).into()
        }
        ("printf", [format, values @ ..]) => printf(texts(format)?, values)?.into(),
        _ => {
            return Err(format!(
                "`{name}` does not take {} argument{}",
                arguments.len(),
                if arguments.len() == 1 { "" } else { "s" }
            ));
        }
    };
    match &answer {
        Value::String(text) if text.len() > LONGEST => Err(format!(
            "what `{name}` makes is longer than {LONGEST} bytes"
        )),
        _ => Ok(Found::of(answer)),
    }
}

fn texts<'v>(found: &'v Found<'_>) -> Result<&'v str, String> {
    found.value().as_str().ok_or_else(|| {
        format!(
            "a text is needed and this is {}",
            print::kind(found.value())
        )
    })
}

fn whole(found: &Found<'_>) -> Result<usize, String> {
    found
        .value()
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| {
            format!(
                "a number is needed and this is {}",
                print::kind(found.value())
            )
        })
}

fn width(found: &Found<'_>) -> Result<usize, String> {
    whole(found).and_then(bounded)
}

fn bounded(width: usize) -> Result<usize, String> {
    if width > WIDEST {
        return Err(format!("a width of {width} is more than {WIDEST}"));
    }
    Ok(width)
}

fn length(value: &Value) -> Answer {
    Ok(match value {
        Value::Null => 0,
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        Value::Bool(_) | Value::Number(_) => {
            return Err(format!("{} has no length", print::kind(value)));
        }
    }
    .into())
}

/// Every word begins with a capital.
fn title(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .flat_map(|c| {
            let first = !inside;
            inside = c.is_alphanumeric() || c == '_' || c == '\'';
            let upper = first.then(|| c.to_uppercase());
            let same = (!first).then_some(c);
            upper.into_iter().flatten().chain(same)
        })
        .collect()
}

fn join(list: &Found<'_>, between: &str) -> Answer {
    match list.value() {
        Value::Null => Ok("".into()),
        Value::Array(list) => {
            let parts: Vec<_> = list
                .iter()
                .map(|part| match part {
                    Value::String(text) => text.clone(),
                    other => print::text(&Found::of(other.clone())),
                })
                .collect();
            let length: usize = parts.iter().map(|part| part.len() + between.len()).sum();
            if length > LONGEST {
                return Err(format!("what `join` makes is longer than {LONGEST} bytes"));
            }
            Ok(parts.join(between).into())
        }
        other => Err(format!(
            "`join` needs a list and this is {}",
            print::kind(other)
        )),
    }
}

fn split(text: &str, between: &str) -> Answer {
    let parts: Vec<Value> = if between.is_empty() {
        text.chars()
            .take(MOST_PARTS + 1)
            .map(|c| c.to_string().into())
            .collect()
    } else {
        text.split(between)
            .take(MOST_PARTS + 1)
            .map(Value::from)
            .collect()
    };
    if parts.len() > MOST_PARTS {
        return Err(format!("`split` makes more than {MOST_PARTS} parts"));
    }
    Ok(parts.into())
}

fn pad(text: &str, left: usize, right: usize) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("{}{text}{}", " ".repeat(left), " ".repeat(right))
}

fn truncate(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Goes into lists by number and into objects by name.
fn index<'d>(value: &Found<'d>, steps: &[Found<'d>]) -> Result<Found<'d>, String> {
    let mut value = value.clone();
    for step in steps {
        let next = match (value.value(), step.value()) {
            (Value::Array(list), Value::Number(number)) => {
                let found = number
                    .as_u64()
                    .and_then(|number| list.get(usize::try_from(number).ok()?));
                match found {
                    Some(found) => Found::of(found.clone()),
                    None => {
                        return Err(format!(
                            "there is no element {number} in a list of {}",
                            list.len()
                        ));
                    }
                }
            }
            (Value::Object(map), Value::String(name)) => match map.get(name) {
                Some(found) => Found::of(found.clone()),
                // Of texts the missing one is empty, as Go has it.
                None if map.values().all(Value::is_string) => Found::of(""),
                None => Found::Missing,
            },
            (Value::Null, Value::String(_)) => Found::of(""),
            (value, step) => {
                return Err(format!(
                    "{} has no part that is named by {}",
                    print::kind(value),
                    print::kind(step)
                ));
            }
        };
        value = next;
    }
    Ok(value)
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn order(one: &Found<'_>, other: &Found<'_>) -> Result<Ordering, String> {
    match (one.value(), other.value()) {
        (Value::String(one), Value::String(other)) => Ok(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Ok(one.cmp(&other)),
            _ => Ok(one
                .as_f64()
                .unwrap_or(0.0)
                .total_cmp(&other.as_f64().unwrap_or(0.0))),
        },
        (one, other) => Err(format!(
            "{} and {} have no order",
            print::kind(one),
            print::kind(other)
        )),
    }
}

/// As Go's `Sprint`: blanks only between two values of which neither is a text.
fn printed(values: &[Found<'_>]) -> String {
    let mut text = String::new();
    for (number, value) in values.iter().enumerate() {
        let is_text = |value: &Found<'_>| value.value().is_string();
        if number > 0 && !is_text(value) && !is_text(&values[number - 1]) {
            text.push(' ');
        }
        print::value(value, &mut text);
    }
    text
}

/// The flags of one `%` of `printf`.
#[derive(Default)]
struct Flags {
    left: bool,
    zero: bool,
    plus: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

fn printf(format: &str, values: &[Found<'_>]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = rest.next_if(|c| "-0+# ".contains(*c)) {
            match flag {
                '-' => flags.left = true,
                '0' => flags.zero = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                _ => {}
            }
        }
        flags.width = number(&mut rest)?.unwrap_or(0);
        if rest.next_if_eq(&'.').is_some() {
            flags.precision = Some(number(&mut rest)?.unwrap_or(0));
        }
        let verb = rest.next().ok_or("a `%` of `printf` has no verb")?;
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| format!("`printf` has no value for `%{verb}`"))?;
        fill(&mut text, &shown(verb, value, &flags)?, &flags);
        if text.len() > LONGEST {
            return Err(format!(
                "what `printf` makes is longer than {LONGEST} bytes"
            ));
        }
    }
    match values.len() {
        0 => Ok(text),
        more => Err(format!("`printf` has {more} more values than verbs")),
    }
}

fn number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, String> {
    let mut found = None;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        found = Some(bounded(found.unwrap_or(0) * 10 + digit)?);
    }
    Ok(found)
}

fn shown(verb: char, value: &Found<'_>, flags: &Flags) -> Result<String, String> {
    let cut = |text: String| match flags.precision {
        Some(most) => truncate(&text, most),
        None => text,
    };
    let signed = |text: String| {
        if flags.plus && !text.starts_with('-') {
            format!("+{text}")
        } else {
            text
        }
    };
    let inner = value.value();
    Ok(match (verb, inner) {
        ('v', Value::Number(_)) => signed(print::text(value)),
        ('v' | 's', _) => cut(print::text(value)),
        ('q', Value::String(text)) => Value::String(cut(text.clone())).to_string(),
        ('t', Value::Bool(value)) => value.to_string(),
        ('x' | 'X', Value::String(text)) => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            if verb == 'X' { hex.to_uppercase() } else { hex }
        }
        ('d' | 'x' | 'X' | 'o' | 'b' | 'c', Value::Number(number)) => {
            let number = number
                .as_i64()
                .ok_or_else(|| format!("`%{verb}` needs a whole number"))?;
            let (sign, size) = (if number < 0 { "-" } else { "" }, number.unsigned_abs());
            match (verb, flags.sharp) {
                ('d', _) => signed(number.to_string()),
                ('x', false) => format!("{sign}{size:x}"),
                ('x', true) => format!("{sign}{size:#x}"),
                ('X', _) => format!("{sign}{size:X}"),
                ('o', _) => format!("{sign}{size:o}"),
                ('b', _) => format!("{sign}{size:b}"),
                _ => u32::try_from(number)
                    .ok()
                    .and_then(char::from_u32)
                    .unwrap_or('\u{fffd}')
                    .to_string(),
            }
        }
        ('f' | 'F', Value::Number(number)) => signed(format!(
            "{:.*}",
            flags.precision.unwrap_or(6),
            number.as_f64().unwrap_or(0.0)
        )),
        ('g', Value::Number(_)) => signed(print::text(value)),
        ('d' | 'x' | 'X' | 'o' | 'b' | 'c' | 'f' | 'F' | 'g' | 'q' | 't', other) => {
            return Err(format!(
                "`%{verb}` of `printf` cannot show {}",
                print::kind(other)
            ));
        }
        _ => {
            return Err(format!("`printf` does not know `%{}`", verb.escape_debug()));
        }
    })
}

fn fill(text: &mut String, shown: &str, flags: &Flags) {
    let missing = flags.width.saturating_sub(shown.chars().count());
    let blanks = " ".repeat(missing);
    if flags.left {
        text.push_str(shown);
        text.push_str(&blanks);
    } else if flags.zero {
        let (sign, digits) = match shown.strip_prefix(['-', '+']) {
            Some(digits) => (&shown[..1], digits),
            None => ("", shown),
        };
        text.push_str(sign);
        text.push_str(&"0".repeat(missing));
        text.push_str(digits);
    } else {
        text.push_str(&blanks);
        text.push_str(shown);
    }
}
