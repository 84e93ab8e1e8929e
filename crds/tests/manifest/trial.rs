//! One manifest before the API server, without one: unknown fields, shapes, rules; and rules of a change.

use std::sync::LazyLock;

use keyweir_crds::schema;
use kube::core::cel::{ErrorKind, Validator};
use serde_json::{Value, json};

/// What is refused: the field, and the words.
pub(crate) type Refusal = (String, String);

/// Text as YAML.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}

/// The smallest object that is whole.
pub(crate) fn minimal() -> Value {
    json!({
        "apiVersion": "keyweir.io/v1alpha1",
        "kind": "StreamConsumer",
        "metadata": {"name": "orders"},
        "spec": {
            "source": {"kafka": {"bootstrapServers": ["kafka:9092"], "topics": ["orders"], "group": "orders"}},
            "handler": {"http": {"url": "http://orders/"}},
        },
    })
}

/// The smallest object with another spec laid over its own; null takes a field away.
pub(crate) fn with(spec: &str) -> Value {
    let mut object = minimal();
    lay_over(&mut object["spec"], &yaml(spec));
    object
}

/// The smallest object with a number laid over it, at a path of the definition.
pub(crate) fn with_number(path: &str, number: i64) -> Value {
    let place = |inner: Value, step: &str| match step.strip_suffix("[]") {
        Some(list) => json!({list: [inner]}),
        None => json!({step: inner}),
    };
    let mut object = minimal();
    lay_over(&mut object, &path.rsplit('.').fold(json!(number), place));
    object
}

fn lay_over(under: &mut Value, over: &Value) {
    let Value::Object(changes) = over else {
        *under = over.clone();
        return;
    };
    if !under.is_object() {
        *under = Value::Object(Default::default());
    }
    let Some(fields) = under.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            lay_over(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// All that is said against an object.
pub(crate) fn refusals(object: &Value) -> Vec<Refusal> {
    refusals_of(object, None)
}

/// All that is said against making `old` into `object`.
pub(crate) fn refusals_of_change(object: &Value, old: &Value) -> Vec<Refusal> {
    refusals_of(object, Some(old))
}

fn refusals_of(object: &Value, old: Option<&Value>) -> Vec<Refusal> {
    static SHAPES: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let mut shapes = schema::stream_consumer().clone();
        refuse_unknown(&mut shapes["properties"]["spec"]);
        jsonschema::validator_for(&shapes).expect("the schema is a schema")
    });
    let object = schema::with_defaults(schema::stream_consumer(), object.clone());
    let old = old.map(|old| schema::with_defaults(schema::stream_consumer(), old.clone()));
    let mut refusals: Vec<Refusal> = SHAPES
        .iter_errors(&object)
        .map(|error| (error.instance_path().to_string(), error.to_string()))
        .collect();
    let Err(broken) = Validator::new().validate(schema::stream_consumer(), &object, old.as_ref()) else {
        return refusals;
    };
    for rule in broken {
        let fits = rule.kind == ErrorKind::ValidationFailure || !refusals.is_empty();
        assert!(fits, "{} can't be evaluated: {} ({:?})", rule.rule, rule.message, rule.kind);
        refusals.push((rule.field_path, rule.message));
    }
    refusals
}

/// What `kubectl apply` refuses by itself: fields that are not in the schema.
fn refuse_unknown(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    let open = node.contains_key("x-kubernetes-preserve-unknown-fields");
    if node.contains_key("properties") && !open && !node.contains_key("additionalProperties") {
        node.insert("additionalProperties".to_owned(), false.into());
    }
    if let Some(items) = node.get_mut("items") {
        refuse_unknown(items);
    }
    for field in
        node.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|it| it.values_mut())
    {
        refuse_unknown(field);
    }
}
