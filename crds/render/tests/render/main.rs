//! From manifest to configuration: each field, each place, each mistake.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what did not hold")]

mod amounts;
mod fields;
mod places;
mod table;

use keyweir_crds::{StreamConsumer, schema};
use serde_json::Value;

/// The smallest object that is whole.
const MINIMAL: &str = "
apiVersion: keyweir.io/v1alpha1
kind: StreamConsumer
metadata: {name: orders}
spec:
  source:
    kafka: {bootstrapServers: ['kafka:9092'], topics: [orders], group: orders}
  handler:
    http: {url: 'http://orders/'}
";

fn object(yaml: &str) -> StreamConsumer {
    whole(serde_saphyr::from_str(yaml).expect("the fixture is YAML"))
}

fn whole(value: Value) -> StreamConsumer {
    let value = schema::with_defaults(schema::stream_consumer(), value);
    serde_json::from_value(value).expect("the fixture is a StreamConsumer")
}

/// The smallest object with another spec laid over its own; null takes a field away.
fn with(spec: &str) -> StreamConsumer {
    let mut value: Value = serde_saphyr::from_str(MINIMAL).expect("the fixture is YAML");
    let over: Value = serde_saphyr::from_str(spec).unwrap_or_else(|error| panic!("{error} in {spec}"));
    lay_over(&mut value["spec"], &over);
    whole(value)
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
