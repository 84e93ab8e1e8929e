//! Texts that are no amounts: the mistake names the field and shows what to write.

use keyweir_render::{Environment, Local, render};

use crate::with;

/// Where a duration stands, and a spec with `{}` in its place.
const DURATIONS: [(&str, &str); 13] = [
    ("spec.source.kafka.partitionDiscoveryInterval", "source: {kafka: {partitionDiscoveryInterval: {}}}"),
    (
        "spec.source.embedded.retention.age",
        "source: {kafka: null, embedded: {topics: [orders], retention: {age: {}}}}",
    ),
    (
        "spec.coordination.memberTTL",
        "coordination: {type: Etcd, memberTTL: {}, etcd: {endpoints: ['http://etcd:2379']}}",
    ),
    ("spec.handlerOptions.timeout", "handlerOptions: {timeout: {}}"),
    ("spec.handlerOptions.heartbeat", "handlerOptions: {heartbeat: {}}"),
    ("spec.handlerOptions.batch.linger", "handlerOptions: {batch: {linger: {}}}"),
    ("spec.handler.builtin.delay", "handler: {http: null, builtin: {type: Delay, delay: {}}}"),
    (
        "spec.routes[0].handler.builtin.delay",
        "routes: [{name: a, topics: [orders], handler: {builtin: {type: Delay, delay: {}}}}]",
    ),
    ("spec.retry.initialDelay", "retry: {initialDelay: {}}"),
    ("spec.retry.maxDelay", "retry: {maxDelay: {}}"),
    ("spec.checkpointInterval", "checkpointInterval: {}"),
    ("spec.drainTimeout", "drainTimeout: {}"),
    ("spec.worker.maxLifetime", "worker: {maxLifetime: {}}"),
];

const SIZES: [(&str, &str); 4] = [
    ("spec.worker.maxMemory", "worker: {maxMemory: {}}"),
    ("spec.execution.limits.bytes", "execution: {limits: {bytes: {}}}"),
    ("spec.handlerOptions.maxResponseBytes", "handlerOptions: {maxResponseBytes: {}}"),
    (
        "spec.source.embedded.retention.bytes",
        "source: {kafka: null, embedded: {topics: [orders], retention: {bytes: {}}}}",
    ),
];

fn refused(field: &str, spec: &str, text: &str, example: &str) {
    let object = with(&spec.replace("{}", &format!("'{text}'")));
    let environment = Environment::local("/secrets".into(), Local::default());
    let mistakes = render(&object, &environment).expect_err(field);
    let fields: Vec<_> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, [field], "{text}");
    assert!(mistakes[0].text.contains(&format!("{text:?}")), "{}", mistakes[0]);
    assert!(mistakes[0].text.contains(example), "{}", mistakes[0]);
}

#[test]
fn a_duration_that_is_none_is_named_with_its_field() {
    for (field, spec) in DURATIONS {
        for text in ["soon", "10", "1d", "-1s"] {
            refused(field, spec, text, "such as 30s");
        }
    }
}

#[test]
fn a_size_that_is_none_is_named_with_its_field() {
    for (field, spec) in SIZES {
        for text in ["much", "1.5Gi", "64MB", "-1"] {
            refused(field, spec, text, "such as 64Mi");
        }
    }
}

#[test]
fn a_time_that_is_none_is_named_with_its_field() {
    for (field, spec) in [
        ("spec.source.kafka.startAt.time", "source: {kafka: {startAt: {position: Timestamp, time: {}}}}"),
        (
            "spec.source.embedded.startAt.time",
            "source: {kafka: null, embedded: {topics: [orders], startAt: {position: Timestamp, time: {}}}}",
        ),
    ] {
        refused(field, spec, "yesterday", "2026-01-31T12:00:00Z");
    }
}

#[test]
fn all_of_them_are_told_at_once() {
    let object = with("{checkpointInterval: a, drainTimeout: b, execution: {limits: {bytes: c}}}");
    let environment = Environment::local("/secrets".into(), Local::default());
    let mistakes = render(&object, &environment).expect_err("three mistakes");
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
}
