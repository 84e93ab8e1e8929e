//! The schema as data: finishing what the derive macros made, applying defaults, dropping what is unknown.
//!
//! Where there is no API server (`keyweir check`, `keyweir run`, tests) these do what it would do.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value};

use crate::StreamConsumer;

/// Brings a derived definition into the form the API server wants to see:
/// no nullable fields, known number formats, and `{}` as the default of every object that has defaults within.
pub fn finish(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(definition).unwrap_or_default();
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                finish_node(schema);
            }
        }
    }
    serde_json::from_value(value).expect("a definition stays a definition: only schema keywords were changed")
}

fn finish_node(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    node.remove("nullable");
    match node.get("format").and_then(Value::as_str) {
        Some("uint" | "uint64") => drop(node.insert("format".to_owned(), "int64".into())),
        Some("uint8" | "uint16" | "uint32" | "int8" | "int16") => {
            node.insert("format".to_owned(), "int32".into());
        }
        _ => {}
    }
    for bound in ["minimum", "maximum"] {
        if let Some(number) = node.get(bound).and_then(Value::as_f64).filter(|number| number.fract() == 0.0) {
            node.insert(bound.to_owned(), Value::from(number as i64));
        }
    }
    if node.get("default").is_some_and(Value::is_object) {
        node.insert("default".to_owned(), Value::Object(Map::new()));
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = node.get_mut(keyword) {
            finish_node(inner);
        }
    }
    if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(finish_node);
    }
}

/// The schema of a definition's only version.
pub fn of(definition: &CustomResourceDefinition) -> Value {
    let schema = definition.spec.versions.first().and_then(|version| version.schema.as_ref());
    schema
        .map(|schema| serde_json::to_value(&schema.open_api_v3_schema).unwrap_or_default())
        .unwrap_or_default()
}

/// The finished schema of a StreamConsumer.
pub fn stream_consumer() -> &'static Value {
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| of(&finish(<StreamConsumer as kube::CustomResourceExt>::crd())));
    &SCHEMA
}

/// The value with every default that its schema names, also those inside defaults.
pub fn with_defaults(schema: &Value, mut value: Value) -> Value {
    fill(schema, &mut value);
    value
}

fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, field_schema) in properties.into_iter().flatten() {
                let absent = fields.get(name).is_none_or(Value::is_null);
                if let (true, Some(default)) = (absent, field_schema.get("default")) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in fields {
                let named = properties.and_then(|properties| properties.get(name));
                if let Some(field_schema) = named.or_else(|| schema.get("additionalProperties")) {
                    fill(field_schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item_schema) = schema.get("items") {
                items.iter_mut().for_each(|item| fill(item_schema, item));
            }
        }
        _ => {}
    }
}
