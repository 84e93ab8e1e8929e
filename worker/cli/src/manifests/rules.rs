//! What the API server would refuse: unknown fields, wrong shapes, broken rules; all at once.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use keyweir_crds::words;
use kube::core::cel::{ErrorKind, Validator};
use serde_json::{Value, json};

/// A field such as `spec.routes[0].handler`, and what is wrong with it.
pub(super) type Broken = (String, String);

/// All that the schema and its rules say against an object with its defaults.
pub(super) fn broken(schema: &Value, object: &Value) -> Vec<Broken> {
    let mut broken = Vec::new();
    let metadata = metadata();
    let whole = json!({"properties": {
        "apiVersion": {}, "kind": {}, "metadata": metadata, "spec": schema["properties"]["spec"], "status": {},
    }});
    unknown(&whole, object, "", &mut broken);
    shapes(schema, object, &mut broken);
    shapes(&json!({"properties": {"metadata": metadata}}), object, &mut broken);
    if broken.is_empty() {
        rules(schema, object, &mut broken);
    }
    broken
}

/// What Kubernetes itself asks of every object's metadata.
fn metadata() -> Value {
    let name = |length: u32| json!({"type": "string", "pattern": words::NAME, "maxLength": length});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let mut known = json!({"name": name(253), "namespace": name(63), "labels": texts, "annotations": texts});
    for others in [
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        known[others] = json!({});
    }
    json!({"type": "object", "properties": known})
}

/// Fields that the schema does not have. An API server would drop them or, asked strictly, refuse them.
fn unknown(schema: &Value, value: &Value, path: &str, broken: &mut Vec<Broken>) {
    if schema.get("x-kubernetes-preserve-unknown-fields").is_some_and(|keeps| keeps == true) {
        return;
    }
    match value {
        Value::Object(fields) => {
            let (properties, others) = (schema.get("properties"), schema.get("additionalProperties"));
            if properties.is_none() && others.is_none() {
                return;
            }
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match properties.and_then(|known| known.get(name)).or(others) {
                    Some(schema) => unknown(schema, field, &path, broken),
                    None => broken.push((path, unknown_text(properties, name))),
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                unknown(
                    schema.get("items").unwrap_or(&Value::Null),
                    item,
                    &format!("{path}[{place}]"),
                    broken,
                );
            }
        }
        _ => {}
    }
}

fn unknown_text(properties: Option<&Value>, name: &str) -> String {
    let known: Vec<_> =
        properties.and_then(Value::as_object).into_iter().flat_map(|known| known.keys().cloned()).collect();
    let alike = known.iter().find(|known| known.eq_ignore_ascii_case(name));
    match alike {
        Some(alike) => format!("there is no such field: want {alike}"),
        None => format!("there is no such field: want one of {}", known.join(", ")),
    }
}

fn shapes(schema: &Value, object: &Value, broken: &mut Vec<Broken>) {
    let Ok(validator) = jsonschema::validator_for(schema) else { return };
    for error in validator.iter_errors(object) {
        broken.push((field(&error.instance_path().to_string()), said(&error)));
    }
}

/// What is wrong with a value, and what is wanted instead.
fn said(error: &ValidationError<'_>) -> String {
    let found = error.instance();
    match error.kind() {
        ValidationErrorKind::Pattern { pattern } => match words::of(pattern) {
            Some(words) => format!("{found} is none: want {words}"),
            None => error.to_string(),
        },
        ValidationErrorKind::Type { kind: TypeKind::Single(JsonType::String) }
            if found.is_boolean() || found.is_number() =>
        {
            format!("YAML reads this as {found}: want text, so put it in quotes")
        }
        ValidationErrorKind::Type { kind: TypeKind::Single(JsonType::Array) } if !found.is_object() => {
            format!(
                "{found} is no list: want [{}]",
                found.as_str().map_or(found.to_string(), ToOwned::to_owned)
            )
        }
        _ => error.to_string(),
    }
}

fn rules(schema: &Value, object: &Value, broken: &mut Vec<Broken>) {
    let Err(errors) = Validator::new().validate(schema, object, None) else { return };
    for error in errors.as_slice() {
        // A rule that can't be evaluated here is the API server's to judge.
        if error.kind == ErrorKind::ValidationFailure {
            broken.push((error.field_path.trim_start_matches('.').to_owned(), error.message.clone()));
        }
    }
}

/// `/spec/routes/0/handler` as `spec.routes[0].handler`.
fn field(pointer: &str) -> String {
    let mut field = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            field.push_str(&format!("[{part}]"));
        } else {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(&part.replace("~1", "/").replace("~0", "~"));
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_reads_as_a_field() {
        assert_eq!(field("/spec/routes/0/handler"), "spec.routes[0].handler");
        assert_eq!(field(""), "");
    }

    #[test]
    fn an_unknown_field_is_named_with_the_one_that_was_meant() {
        let schema =
            json!({"properties": {"spec": {"properties": {"bootstrapServers": {"type": "string"}}}}});
        let found = broken(&schema, &json!({"spec": {"bootstrapservers": "a"}}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "spec.bootstrapservers");
        assert!(found[0].1.ends_with("want bootstrapServers"), "{}", found[0].1);
    }
}
