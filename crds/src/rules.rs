//! How a CEL rule is written down: the expression, and a message that says the fix.
//!
//! A rule on a type whose field has `default: {}` also sees that empty object before its own defaults, so it
//! asks `has()` for everything. A rule walks only what has `maxItems` or `maxLength`: the API server refuses a
//! definition whose rules might cost too much. Keys of a map are never bounded, so they are compared with
//! `startsWith`, `endsWith` and `in`, whose cost does not depend on them.

use serde_json::{Value, json};

/// The schema keyword that holds rules.
pub const KEYWORD: &str = "x-kubernetes-validations";

/// One rule: what must be true, and what to do about it if it isn't.
pub fn rule(expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message})
}

/// A rule whose violation is shown at a field of the type it stands on.
pub fn rule_at(field_path: &str, expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message, "fieldPath": field_path})
}

/// Exactly one of these members must be present.
pub fn exactly_one(members: &[&str]) -> Value {
    let present: Vec<String> = members.iter().map(|member| format!("has(self.{member})")).collect();
    json!({
        "rule": format!("[{}].filter(x, x).size() == 1", present.join(", ")),
        "message": format!("set exactly one of {}", members.join(", ")),
    })
}

/// A duration within these bounds, both included.
pub fn between(low: &str, high: &str) -> Value {
    json!([{
        "rule": format!("duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"),
        "message": format!("must be between {low} and {high}"),
    }])
}

/// A duration within these bounds, or the word `None`.
pub fn between_or_none(low: &str, high: &str) -> Value {
    json!([{
        "rule": format!(
            "self == 'None' || duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
        ),
        "message": format!("must be between {low} and {high}, or None"),
    }])
}

/// A duration within these bounds, or the empty text.
pub fn between_or_empty(low: &str, high: &str) -> Value {
    json!([{
        "rule": format!("self == '' || duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"),
        "message": format!("must be between {low} and {high}, or empty"),
    }])
}

/// A size within these bounds, both included.
pub fn sized(low: &str, high: &str) -> Value {
    json!([{
        "rule": format!(
            "quantity(self).compareTo(quantity('{low}')) >= 0 && quantity(self).compareTo(quantity('{high}')) <= 0"
        ),
        "message": format!("must be between {low} and {high}"),
    }])
}

/// A size within these bounds, or the empty text.
pub fn sized_or_empty(low: &str, high: &str) -> Value {
    json!([{
        "rule": format!(
            "self == '' || quantity(self).compareTo(quantity('{low}')) >= 0 && \
             quantity(self).compareTo(quantity('{high}')) <= 0"
        ),
        "message": format!("must be between {low} and {high}, or empty"),
    }])
}

/// All servers by https, or all by http and without TLS settings.
pub fn one_scheme() -> Value {
    rule(
        "self.endpoints.all(e, e.startsWith('https://')) || \
         !has(self.tls) && self.endpoints.all(e, e.startsWith('http://'))",
        "make all endpoints https, or all http without tls",
    )
}

/// A value that stays as it was first written.
pub fn immutable(message: &str) -> Value {
    json!([rule("self == oldSelf", message)])
}
