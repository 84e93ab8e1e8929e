//! Here or in a cluster: what the place gives, what it does not do, and every mistake at once.

use std::path::PathBuf;

use keyweir_contract::handler::Handler;
use keyweir_contract::policy::{Concurrency, ExhaustedAction, KeySelector};
use keyweir_contract::source::{Coordination, Source};
use keyweir_render::{Environment, Local, Mistake, Rendered, render};

use crate::fields::cluster;
use crate::{MINIMAL, object, with};

fn local(local: Local) -> Environment {
    Environment::local(PathBuf::from("/secrets"), local)
}

fn rendered(yaml: &str) -> Rendered {
    render(&object(yaml), &local(Local::default())).expect("the fixture is valid")
}

fn mistakes(yaml: &str) -> Vec<Mistake> {
    render(&object(yaml), &local(Local::default())).expect_err("the fixture is wrong")
}

#[test]
fn the_minimal_object_gets_the_documented_defaults() {
    let config = rendered(MINIMAL).config;
    assert_eq!(config.live.execution.concurrency, Concurrency::Fixed(64));
    assert_eq!(config.live.execution.limits, Default::default());
    assert_eq!(config.live.retry, Default::default());
    assert_eq!(config.fixed.handler.options, Default::default());
    assert_eq!(config.fixed.on_exhausted, ExhaustedAction::Park { blocks_key: false });
    assert_eq!(config.fixed.coordination, Coordination::None);
}

#[test]
fn embedded_replaces_kafka_with_the_same_topics() {
    let local = local(Local { embedded: true, ..Local::default() });
    let rendered = render(&object(MINIMAL), &local).expect("it is valid");
    let Source::Embedded(source) = rendered.config.fixed.source else {
        panic!("it stayed Kafka");
    };
    assert_eq!((source.topics, source.group.as_str()), (vec!["orders".to_owned()], "orders"));
}

#[test]
fn secrets_become_paths_and_nothing_secret_is_written() {
    let rendered = rendered(
        "
apiVersion: keyweir.io/v1alpha1
kind: StreamConsumer
metadata: {name: orders}
spec:
  source:
    kafka:
      bootstrapServers: ['kafka:9093']
      topics: [orders]
      group: orders
      tls: {ca: {secretKeyRef: {name: kafka-ca, key: ca.crt}}}
      sasl: {mechanism: SCRAM-SHA-512, username: u, passwordSecretKeyRef: {name: orders, key: password}}
  key: {from: JSONPointer, jsonPointer: /customer}
  decode: {format: JSON}
  handler: {exec: {command: [python3, -u, handler.py], args: [--fast]}}
",
    );
    let paths: Vec<_> = rendered.files.iter().map(|file| file.path.display().to_string()).collect();
    assert_eq!(paths, ["/secrets/kafka-ca/ca.crt", "/secrets/orders/password"]);
    assert_eq!(rendered.config.fixed.key.selector, KeySelector::JsonPointer("/customer".to_owned()));
    let Handler::Exec(exec) = rendered.config.fixed.handler.handler else {
        panic!("another handler");
    };
    assert_eq!((exec.command.as_str(), exec.args.len()), ("python3", 3));
}

#[test]
fn a_container_needs_a_url_where_nothing_starts_it() {
    let yaml = MINIMAL.replace("http: {url: 'http://orders/'}", "container: {image: 'orders:1'}");
    let found = mistakes(&yaml);
    assert_eq!(found.len(), 1);
    assert!(found[0].text.contains("--handler-url"), "{}", found[0]);
    let local = local(Local { handler_url: Some("http://127.0.0.1:9000/".to_owned()), ..Local::default() });
    let rendered = render(&object(&yaml), &local).expect("the URL is given");
    assert_eq!(
        rendered.config.fixed.handler.handler,
        Handler::Http { url: "http://127.0.0.1:9000/".to_owned() }
    );
}

#[test]
fn all_mistakes_are_told_at_once_with_their_fields() {
    let found = mistakes(
        "
apiVersion: keyweir.io/v1alpha1
kind: StreamConsumer
metadata: {name: orders}
spec:
  source:
    kafka: {bootstrapServers: ['kafka:9092'], topics: [orders], group: orders}
  coordination: {type: Etcd}
  handler: {builtin: {type: Map, map: {expression: '/a', output: nowhere}}}
  routes:
  - {name: a, topics: [refunds], handler: {http: {url: 'http://a/'}}}
  - {name: a, topics: [orders], handler: {http: {url: 'http://b/'}}}
  pausedPartitions: [{topic: other, partitions: [0]}]
",
    );
    let fields: Vec<_> = found.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.pausedPartitions[0].topic",
            "spec.routes[0].topics",
            "spec.routes[1].name",
            "spec.handler.builtin.map.output",
            "spec.coordination.etcd",
        ]
    );
}

/// U03: control keys lie where no path of a source does.
#[test]
fn a_path_that_holds_or_meets_the_control_keys_is_refused() {
    let spec = |path: &str, prefix: &str| {
        let source =
            format!("source: {{kafka: null, etcd: {{endpoints: ['http://a:1'], paths: [/far, {path}]}}}}");
        let meet =
            format!("coordination: {{type: Etcd, etcd: {{endpoints: ['http://b:1'], prefix: {prefix}}}}}");
        with(&format!("{source}\n{meet}\nonExhausted: {{action: Skip}}"))
    };
    for (path, prefix) in
        [("/shop", "/shop/keyweir"), ("/keyweir", "/keyweir"), ("/keyweir/a/b", "/keyweir/a")]
    {
        let refused = render(&spec(path, prefix), &cluster()).expect_err(path);
        assert_eq!(refused[0].field, "spec.source.etcd.paths[1]");
        assert!(refused[0].text.contains("use another path"), "{}", refused[0]);
    }
    for (path, prefix) in [("/shop", "/shop2"), ("/shop2", "/shop"), ("/shop/a", "/shop/keyweir")] {
        assert!(render(&spec(path, prefix), &cluster()).is_ok(), "{path} beside {prefix}");
    }
}

#[test]
fn members_of_an_etcd_source_have_nowhere_to_park_records() {
    let spec = |more: &str| {
        let meet = "coordination: {type: Etcd, etcd: {endpoints: ['http://b:1']}}";
        with(&format!(
            "source: {{kafka: null, etcd: {{endpoints: ['http://a:1'], paths: [/p]}}}}\n{meet}\n{more}"
        ))
    };
    for (more, field) in [
        ("", "spec.onExhausted"),
        ("onExhausted: {action: Park}", "spec.onExhausted"),
        ("onExhausted: {action: Stop}\nonUndecodable: {action: Park}", "spec.onUndecodable"),
        ("onExhausted: {action: Stop}\nonUnknown: {action: Park}", "spec.onUnknown"),
    ] {
        let refused = render(&spec(more), &cluster()).expect_err(more);
        let fields: Vec<_> = refused.iter().map(|mistake| mistake.field.as_str()).collect();
        assert_eq!(fields, [field], "{more}");
    }
    assert!(render(&spec("onExhausted: {action: Skip}"), &cluster()).is_ok());
    let local = Environment::local("/secrets".into(), Local::default());
    assert!(render(&spec(""), &local).is_ok(), "a laptop has a data directory");
}

#[test]
fn what_a_laptop_does_not_do_is_said() {
    let notes = rendered(&MINIMAL.replace("spec:", "spec:\n  replicas: 3")).notes;
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("replicas"), "{}", notes[0]);
}
