//! Values as Go prints them.

use serde_json::Value;

use super::eval::Found;

/// What prints where nothing is.
const NO_VALUE: &str = "<no value>";

/// A value as `{{.}}` and `%v` print it.
pub(super) fn value(found: &Found<'_>, into: &mut String) {
    match found {
        Found::Missing => into.push_str(NO_VALUE),
        Found::Value(found) => json(found, into),
    }
}

/// The same as a text of its own.
pub(super) fn text(found: &Found<'_>) -> String {
    let mut text = String::new();
    value(found, &mut text);
    text
}

fn json(value: &Value, into: &mut String) {
    match value {
        Value::Null => into.push_str("<nil>"),
        Value::Bool(_) | Value::Number(_) => into.push_str(&value.to_string()),
        Value::String(text) => into.push_str(text),
        Value::Array(list) => {
            into.push('[');
            for (number, item) in list.iter().enumerate() {
                if number > 0 {
                    into.push(' ');
                }
                json(item, into);
            }
            into.push(']');
        }
        Value::Object(map) => {
            let mut items: Vec<_> = map.iter().collect();
            items.sort_by_key(|(key, _)| *key);
            into.push_str("map[");
            for (number, (key, item)) in items.into_iter().enumerate() {
                if number > 0 {
                    into.push(' ');
                }
                into.push_str(key);
                into.push(':');
                json(item, into);
            }
            into.push(']');
        }
    }
}

/// What a value is, for messages.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a yes or no",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
