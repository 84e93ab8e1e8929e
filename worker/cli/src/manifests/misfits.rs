//! Values that do not fit their schema: what is wrong with each, and what is wanted instead.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use keyweir_crds::words;
use serde_json::{Value, json};

use super::alike::alike;

/// What is wrong with a value, and what is wanted instead.
pub(super) fn said(schema: &Value, error: &ValidationError<'_>) -> String {
    let found: &Value = error.instance();
    match error.kind() {
        ValidationErrorKind::Required { property } => format!("{} is missing: add it", bare(property)),
        ValidationErrorKind::Pattern { pattern } => match words::of(pattern) {
            Some(words) => format!("{found} does not fit: want {words}"),
            None => error.to_string(),
        },
        ValidationErrorKind::Enum { options } => choice(found, options),
        ValidationErrorKind::Minimum { limit } => {
            format!("{found} is too little: want {} or more", whole(limit))
        }
        ValidationErrorKind::Maximum { limit } => {
            format!("{found} is too much: want {} or less", whole(limit))
        }
        ValidationErrorKind::MinItems { limit } => {
            format!("there are {} items: want {limit} or more", length(found))
        }
        ValidationErrorKind::MaxItems { limit } => {
            format!("there are {} items: want {limit} or fewer", length(found))
        }
        ValidationErrorKind::Type { kind: TypeKind::Single(wanted) } => {
            let path = error.schema_path().to_string();
            let node = path.rsplit_once('/').and_then(|(node, _)| schema.pointer(node));
            kind(found, *wanted, node.unwrap_or(&Value::Null))
        }
        _ => error.to_string(),
    }
}

/// A word that is none of those that may stand there.
fn choice(found: &Value, options: &Value) -> String {
    let options: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let meant = found.as_str().and_then(|found| alike(found, options.iter().copied()));
    match meant {
        Some(meant) => format!("{found} does not fit: want {meant}"),
        None => format!("{found} does not fit: want one of {}", options.join(", ")),
    }
}

/// A value of another kind than is wanted; `node` is its schema.
fn kind(found: &Value, wanted: JsonType, node: &Value) -> String {
    let what = match found {
        Value::Null => "there is nothing here".to_owned(),
        Value::Object(_) => "these are fields".to_owned(),
        Value::Array(_) => "this is a list".to_owned(),
        // Not shown: whoever writes a password where its Secret is to be named reads it in no log.
        Value::String(_) if wanted == JsonType::Object => "this is text".to_owned(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) => format!("{found} does not fit"),
    };
    match (wanted, found) {
        (JsonType::String, Value::Bool(_) | Value::Number(_)) => text(found, node),
        (JsonType::Integer | JsonType::Number, Value::String(text)) if text.parse::<i64>().is_ok() => {
            format!("{found} is text: want a number, so leave the quotes out")
        }
        (JsonType::Integer, _) => format!("{what}: want a whole number"),
        (JsonType::Boolean, _) => format!("{what}: want true or false"),
        (JsonType::String, _) => format!("{what}: want text"),
        (JsonType::Array, Value::Object(_)) => format!("{what}: want a list, each item behind a dash"),
        (JsonType::Array, Value::Null) => format!("{what}: want a list"),
        (JsonType::Array, _) => format!("{found} is no list: want {}", listed(found)),
        (JsonType::Object, _) => format!("{what}: want {}", fields(node)),
        _ => format!("{what}: want {wanted}"),
    }
}

/// A number or a truth value where text is wanted: one that has lost its unit, or text without its quotes.
fn text(found: &Value, node: &Value) -> String {
    let words = node["pattern"].as_str().and_then(words::of);
    match words {
        Some(words) if !jsonschema::is_valid(node, &json!(found.to_string())) => {
            format!("{found} does not fit: want {words}")
        }
        _ => format!("YAML reads this as {found}: want text, so put it in quotes"),
    }
}

/// A text as the list that it may have been meant to be.
fn listed(found: &Value) -> String {
    let text = bare(found);
    let items = text.split([' ', ',']).filter(|item| !item.is_empty());
    json!(items.collect::<Vec<_>>()).to_string().replace(',', ", ")
}

/// The fields that a schema names.
fn fields(node: &Value) -> String {
    let known = node["properties"].as_object().into_iter().flatten();
    let names: Vec<_> = known.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        "names and values below it".to_owned()
    } else {
        format!("fields below it ({})", names.join(", "))
    }
}

fn length(found: &Value) -> usize {
    found.as_array().map_or(0, Vec::len)
}

/// A limit as people write it: the schema keeps it as 1.0.
fn whole(limit: &Value) -> String {
    limit
        .as_f64()
        .filter(|limit| limit.fract() == 0.0)
        .map_or_else(|| limit.to_string(), |it| format!("{it:.0}"))
}

/// Text without its quotes.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
