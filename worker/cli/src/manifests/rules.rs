//! What the API server would refuse: unknown fields, wrong shapes, broken rules; all at once.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use keyweir_crds::words;
use kube::core::cel::{ErrorKind, Validator};
use serde_json::{Value, json};

use super::misfits;
use super::strangers::{Stranger, below, strangers};

/// A field such as `spec.routes[0].handler`, and what is wrong with it.
pub(super) type Broken = (String, String);

/// All that the schema and its rules say against an object with its defaults.
pub(super) fn broken(schema: &Value, object: &Value) -> Vec<Broken> {
    let mut broken = Vec::new();
    let metadata = metadata();
    let whole = json!({"properties": {
        "apiVersion": {}, "kind": {}, "metadata": metadata, "spec": schema["properties"]["spec"], "status": {},
    }});
    let strangers = strangers(&whole, object);
    shapes(schema, object, &strangers, &mut broken);
    shapes(&json!({"properties": {"metadata": metadata}}), object, &strangers, &mut broken);
    broken.extend(strangers.into_iter().map(|stranger| (stranger.field, stranger.text)));
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

fn shapes(schema: &Value, object: &Value, strangers: &[Stranger], broken: &mut Vec<Broken>) {
    let Ok(validator) = jsonschema::validator_for(schema) else { return };
    for error in validator.iter_errors(object) {
        let field = field(&error.instance_path().to_string());
        if !is_misspelt(&field, &error, strangers) {
            broken.push((field, misfits::said(schema, &error)));
        }
    }
}

/// Whether a field is missing only because it stands there under a wrong name, which is told already.
fn is_misspelt(field: &str, error: &ValidationError<'_>, strangers: &[Stranger]) -> bool {
    let ValidationErrorKind::Required { property: Value::String(name) } = error.kind() else { return false };
    let missing = below(field, name);
    strangers.iter().any(|stranger| stranger.meant.as_ref() == Some(&missing))
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
