//! Fields that the schema does not have. An API server would drop them or, asked strictly, refuse them.

use serde_json::Value;

use super::alike::alike;

/// A field that nobody knows.
pub(super) struct Stranger {
    /// Where it stands, such as `spec.routes[0].handlr`.
    pub(super) field: String,
    /// The field that was meant, where one is alike.
    pub(super) meant: Option<String>,
    /// What is wrong, and what to write instead.
    pub(super) text: String,
}

/// All fields of a value that its schema does not have.
pub(super) fn strangers(schema: &Value, value: &Value) -> Vec<Stranger> {
    let mut found = Vec::new();
    look(schema, value, "", &mut found);
    found
}

fn look(schema: &Value, value: &Value, path: &str, found: &mut Vec<Stranger>) {
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
                let below = below(path, name);
                match properties.and_then(|known| known.get(name)).or(others) {
                    Some(schema) => look(schema, field, &below, found),
                    None => found.push(stranger(path, name, properties)),
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                look(schema.get("items").unwrap_or(&Value::Null), item, &format!("{path}[{place}]"), found);
            }
        }
        _ => {}
    }
}

fn stranger(path: &str, name: &str, properties: Option<&Value>) -> Stranger {
    let known = || {
        let fields = properties.and_then(Value::as_object);
        fields.into_iter().flat_map(|fields| fields.keys().map(String::as_str))
    };
    let meant = alike(name, known());
    let want = meant.map_or_else(
        || format!("want one of {}", known().collect::<Vec<_>>().join(", ")),
        |meant| format!("want {meant}"),
    );
    Stranger {
        field: below(path, name),
        meant: meant.map(|meant| below(path, meant)),
        text: format!("there is no such field: {want}"),
    }
}

/// A field below a path.
pub(super) fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
