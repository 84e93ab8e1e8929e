//! Each field of a spec, and where it is in the configuration; and what depends on another field.

use std::collections::BTreeSet;

use keyweir_contract::policy::{Concurrency, ExhaustedAction, OnUnknown};
use keyweir_crds::{StreamConsumer, schema};
use keyweir_render::{Environment, Local, Place, Rendered, render};
use serde_json::Value;

use crate::table::{FIELDS, Field, THE_OPERATORS};
use crate::with;

pub(crate) fn cluster() -> Environment {
    Environment {
        secrets: "/secrets".into(),
        config_maps: "/config-maps".into(),
        coordination: None,
        wire_secret: Some("orders-stc-wire".to_owned()),
        place: Place::Cluster,
    }
}

fn rendered(object: &StreamConsumer) -> Rendered {
    render(object, &cluster()).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn config(spec: &str) -> Value {
    serde_json::to_value(rendered(&with(spec)).config).unwrap()
}

#[test]
fn each_field_is_where_it_belongs() {
    for Field { field, spec, at, is } in FIELDS {
        let config = config(spec);
        let wanted: Value = serde_json::from_str(is).unwrap_or_else(|error| panic!("{field}: {error}"));
        let found = config.pointer(at).unwrap_or(&Value::Null);
        assert_eq!(found, &wanted, "{field} at {at}, in {config:#}");
    }
}

#[test]
fn each_field_has_a_row_or_is_the_operators() {
    let mut leaves = BTreeSet::new();
    leaves_of(&schema::stream_consumer()["properties"]["spec"], "", &mut leaves);
    let rows: BTreeSet<&str> = FIELDS.iter().map(|row| row.field).collect();
    for leaf in &leaves {
        let covered = rows.iter().chain(&THE_OPERATORS).any(|field| {
            leaf == field || leaf.strip_prefix(field).is_some_and(|rest| rest.starts_with(['.', '[']))
        });
        assert!(covered, "{leaf} has no row: add one to crds/render/tests/render/table.rs");
    }
    for field in rows.iter().chain(&THE_OPERATORS) {
        assert!(leaves.iter().any(|leaf| leaf.starts_with(field)), "{field} is no field");
    }
}

fn leaves_of(schema: &Value, path: &str, leaves: &mut BTreeSet<String>) {
    let fields = schema["properties"].as_object().filter(|fields| !fields.is_empty());
    for (name, field) in fields.into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if field["items"]["properties"].is_object() {
            leaves_of(&field["items"], &format!("{path}[]"), leaves);
        } else {
            leaves_of(field, &path, leaves);
        }
    }
    if fields.is_none() {
        leaves.insert(path.to_owned());
    }
}

#[test]
fn a_profile_stands_for_concurrency_and_depth() {
    for (profile, per_cpu, depth) in
        [("Compute", 1, 1000), ("FastNetwork", 4, 100), ("SlowNetwork", 16, 100), ("WideNetwork", 32, 1000)]
    {
        let execution = rendered(&with(&format!("execution: {{profile: {profile}}}"))).config.live.execution;
        assert_eq!(execution.concurrency, Concurrency::PerCpu(per_cpu), "{profile}");
        assert_eq!(execution.concurrency.resolve(4), per_cpu * 4, "{profile}");
        assert_eq!(execution.limits.records_per_key, depth, "{profile}");
    }
    let own = "execution: {profile: FastNetwork, limits: {recordsPerKey: 7}}";
    assert_eq!(rendered(&with(own)).config.live.execution.limits.records_per_key, 7, "what is said wins");
    let fixed = rendered(&with("execution: {concurrency: 3}")).config.live.execution;
    assert_eq!((fixed.concurrency, fixed.limits.records_per_key), (Concurrency::Fixed(3), 1000));
}

#[test]
fn the_end_of_the_road_is_a_dead_letter_where_one_is_named_else_park() {
    let letter = |topic: &str| ExhaustedAction::DeadLetter { topic: topic.to_owned() };
    let park = |blocks_key| ExhaustedAction::Park { blocks_key };
    for (said, follows) in [
        ("{}", park(false)),
        ("{deadLetter: {topic: dead}}", letter("dead")),
        ("{action: DeadLetter, deadLetter: {topic: dead}}", letter("dead")),
        ("{action: Park}", park(false)),
        ("{park: {blocksKey: true}}", park(true)),
        ("{action: Park, park: {blocksKey: true}}", park(true)),
        ("{action: Skip}", ExhaustedAction::Skip),
        ("{action: Stop}", ExhaustedAction::Stop),
    ] {
        let fixed = rendered(&with(&format!("onExhausted: {said}"))).config.fixed;
        assert_eq!(fixed.on_exhausted, follows, "{said}");
        assert_eq!(fixed.on_undecodable, follows, "undecodable records go the same way: {said}");
        let fixed = rendered(&with(&format!("onUndecodable: {said}"))).config.fixed;
        assert_eq!((fixed.on_exhausted, fixed.on_undecodable), (park(false), follows), "{said}");
    }
    for (said, follows) in [
        ("{}", OnUnknown::Default),
        ("{action: Skip}", OnUnknown::Exhaust(ExhaustedAction::Skip)),
        ("{action: Stop}", OnUnknown::Exhaust(ExhaustedAction::Stop)),
        ("{action: Park, park: {blocksKey: true}}", OnUnknown::Exhaust(park(true))),
        ("{action: DeadLetter, deadLetter: {topic: dead}}", OnUnknown::Exhaust(letter("dead"))),
    ] {
        assert_eq!(rendered(&with(&format!("onUnknown: {said}"))).config.fixed.on_unknown, follows, "{said}");
    }
}

#[test]
fn files_are_named_for_every_reference() {
    let object = with(
        "source: {kafka: {tls: {ca: {configMapKeyRef: {name: ca, key: ca.crt}}, clientCertificate: {secretName: me}},
                          sasl: {mechanism: PLAIN, username: u, passwordSecretKeyRef: {name: p, key: q}}}}",
    );
    let files: Vec<_> = rendered(&object)
        .files
        .into_iter()
        .map(|file| (file.field, file.path.display().to_string(), file.secret))
        .collect();
    let file =
        |field: &str, path: &str, secret| (format!("spec.source.kafka.{field}"), path.to_owned(), secret);
    assert_eq!(
        files,
        [
            file("tls.ca", "/config-maps/ca/ca.crt", false),
            file("tls.clientCertificate", "/secrets/me/tls.crt", true),
            file("tls.clientCertificate", "/secrets/me/tls.key", true),
            file("sasl.passwordSecretKeyRef", "/secrets/p/q", true),
        ]
    );
}

#[test]
fn a_topic_is_made_in_one_way_wherever_it_is_named() {
    let two = |exhausted: u32, undecodable: u32| {
        with(&format!(
            "{{source: {{kafka: {{topics: [a, b], provision: {{partitions: 8}}}}}},
              onExhausted: {{deadLetter: {{topic: dead, provision: {{partitions: {exhausted}}}}}}},
              onUndecodable: {{deadLetter: {{topic: dead, provision: {{partitions: {undecodable}}}}}}}}}"
        ))
    };
    let made = rendered(&two(1, 1)).config.live.provision;
    let made: Vec<_> = made.iter().map(|plan| (plan.topic.as_str(), plan.partitions)).collect();
    assert_eq!(made, [("a", 8), ("b", 8), ("dead", 1)]);
    let mistakes = render(&two(1, 2), &cluster()).unwrap_err();
    assert!(mistakes[0].to_string().contains("say the same in both places"), "{mistakes:?}");
    let embedded = Local { embedded: true, ..Local::default() };
    let local = render(&two(1, 1), &Environment::local("/secrets".into(), embedded)).unwrap();
    assert_eq!(local.config.live.provision, [], "the embedded log makes its own");
}

#[test]
fn a_change_of_what_is_live_replaces_no_worker_and_any_other_does() {
    let hash = |spec: &str| rendered(&with(spec)).config.restart_hash();
    for live in [
        "checkpointInterval: 2s",
        "drainTimeout: 1m",
        "state: Paused",
        "pausedPartitions: [{topic: orders, partitions: [1]}]",
        "execution: {concurrency: 7}",
        "retry: {maxAttempts: 2}",
        "observability: {logLevel: Debug}",
        "source: {kafka: {provision: {partitions: 3}}}",
        "replicas: 5",
    ] {
        assert_eq!(hash(live), hash("{}"), "{live}");
    }
    for fixed in ["ordering: Partition", "onExhausted: {action: Skip}", "handler: {http: {url: 'http://b/'}}"]
    {
        assert_ne!(hash(fixed), hash("{}"), "{fixed}");
    }
}

/// Rows of issue 4: the wire between workers is authenticated.
#[test]
fn members_speak_to_each_other_where_keys_are_routed_and_only_there() {
    let etcd = "coordination: {type: Etcd, etcd: {endpoints: ['http://a:1']}}";
    let routed = rendered(&with(&format!("{{routing: Key, {etcd}}}")));
    let peer = serde_json::to_value(&routed.config).unwrap();
    assert_eq!(
        peer.pointer("/fixed/coordination/etcd/peer"),
        Some(&serde_json::json!({"listen": "0.0.0.0:7070", "secretFile": "/secrets/orders-stc-wire/secret"}))
    );
    assert_eq!(routed.files.len(), 1);
    let partition = rendered(&with(&format!("{{routing: Partition, {etcd}}}")));
    assert_eq!(config(etcd).pointer("/fixed/coordination/etcd/peer"), Some(&Value::Null));
    assert_eq!(partition.files, vec![]);
}

/// U36: how many ordinals there are is live, and told to none but workers that have one.
#[test]
fn workers_of_static_placement_are_told_how_many_ordinals_there_are() {
    let of = |placement: &str| {
        let etcd = format!("{{type: Etcd, placement: {placement}, etcd: {{endpoints: ['http://a:1']}}}}");
        rendered(&with(&format!("{{replicas: 3, coordination: {etcd}}}"))).config
    };
    assert_eq!((of("Static").live.replicas, of("Dynamic").live.replicas), (Some(3), None));
    assert_ne!(of("Static").restart_hash(), of("Dynamic").restart_hash());
    let laptop = Environment::local("/secrets".into(), Local::default());
    let etcd = "{type: Etcd, placement: Static, etcd: {endpoints: ['http://a:1']}}";
    let local = render(&with(&format!("{{replicas: 3, coordination: {etcd}}}")), &laptop).unwrap();
    assert_eq!((local.config.live.replicas, local.notes), (Some(3), vec![]), "each process has an ordinal");
}

#[test]
fn a_laptop_says_what_it_leaves_to_a_cluster() {
    let local = Environment::local("/secrets".into(), Local::default());
    for field in
        ["replicas: 2", "routing: Key", "scaling: {mode: External}", "pod: {priorityClassName: high}"]
    {
        let notes = render(&with(field), &local).unwrap().notes;
        let (name, _) = field.split_once(':').unwrap();
        assert!(notes.iter().any(|note| note.starts_with(&format!("spec.{name}"))), "{field}: {notes:?}");
        assert_eq!(rendered(&with(field)).notes, Vec::<String>::new(), "a cluster does it");
    }
}
