//! What we show, works: each file of `config/samples` and each manifest of a README passes schema, rules and render.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keyweir_contract::endpoints::EtcdEndpoint;
use keyweir_contract::source::EtcdCoordination;
use keyweir_crds::{StreamConsumer, schema};
use keyweir_render::{Environment, Local, Place, render};
use serde_json::Value;

use crate::trial::{minimal, refusals, yaml};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every manifest that is shown somewhere, with the place.
fn shown() -> Vec<(String, Value)> {
    let mut shown = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(root().join("config/samples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        documents(&file, &std::fs::read_to_string(&file).unwrap(), &mut shown);
    }
    for readme in ["README.md", "e2e/README.md", "worker/handlers/PROTOCOL.md", "worker/embedded/README.md"] {
        let text = std::fs::read_to_string(root().join(readme)).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            documents(Path::new(readme), block.split("\n```").next().unwrap(), &mut shown);
        }
    }
    shown
}

fn documents(file: &Path, text: &str, shown: &mut Vec<(String, Value)>) {
    for document in text.split("\n---\n") {
        let value = yaml(document);
        // What stands beside our objects is for others to read.
        if !value["apiVersion"].as_str().is_some_and(|version| version.starts_with("keyweir.io/")) {
            continue;
        }
        let name = format!("{} ({})", file.file_name().unwrap().display(), value["metadata"]["name"]);
        shown.push((name, value));
    }
}

fn places() -> [Environment; 2] {
    let etcd = EtcdCoordination {
        endpoint: EtcdEndpoint { endpoints: vec!["http://etcd:2379".to_owned()], tls: None, login: None },
        prefix: "/keyweir".to_owned(),
        member_ttl: std::time::Duration::from_secs(5),
        placement: keyweir_contract::source::Placement::Dynamic,
        peer: None,
    };
    let cluster = Environment {
        secrets: "/secrets".into(),
        config_maps: "/config-maps".into(),
        coordination: Some(etcd),
        wire_secret: Some("wire".to_owned()),
        place: Place::Cluster,
    };
    [cluster, Environment::local("/secrets".into(), Local::default())]
}

#[test]
fn everything_that_is_shown_is_accepted_and_rendered() {
    let shown = shown();
    assert!(shown.len() > 8, "samples and READMEs are found");
    for (name, manifest) in &shown {
        assert_eq!(manifest["kind"], "StreamConsumer", "{name}");
        assert_eq!(refusals(manifest), vec![], "{name}");
        let whole = schema::with_defaults(schema::stream_consumer(), manifest.clone());
        let object: StreamConsumer =
            serde_json::from_value(whole).unwrap_or_else(|error| panic!("{name}: {error}"));
        for mut place in places() {
            if let (Place::Local(local), true) = (&mut place.place, object.spec.handler.container.is_some()) {
                local.handler_url = Some("http://127.0.0.1:8080/".to_owned());
            }
            let rendered = render(&object, &place).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
            assert_eq!(rendered.config.object.kind, "StreamConsumer", "{name}");
        }
    }
}

#[test]
fn the_smallest_sample_is_the_smallest_object() {
    let text = std::fs::read_to_string(root().join("config/samples/minimal.yaml")).unwrap();
    assert_eq!(yaml(&text), minimal());
    for part in ["source", "handler"] {
        let mut less = minimal();
        less["spec"].as_object_mut().unwrap().remove(part);
        assert!(!refusals(&less).is_empty(), "nothing less is whole");
    }
}

#[test]
fn the_samples_show_every_part_of_a_spec() {
    let fields: BTreeSet<String> = schema::stream_consumer()["properties"]["spec"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let shown = shown().into_iter().flat_map(|(_, manifest)| manifest["spec"].as_object().unwrap().clone());
    let shown: BTreeSet<String> = shown.map(|(name, _)| name).collect();
    let missing: Vec<_> = fields.difference(&shown).collect();
    assert!(missing.is_empty(), "no sample shows {missing:?}");
}

#[test]
fn an_unknown_field_is_refused_wherever_it_stands() {
    for (pointer, name) in
        [("/spec", "replica"), ("/spec/source/kafka", "topic"), ("/spec/handler/http", "uri")]
    {
        let mut object = minimal();
        object.pointer_mut(pointer).unwrap()[name] = Value::from(1);
        let refused = refusals(&object);
        assert!(refused.iter().any(|(_, said)| said.contains(name)), "{pointer}: {refused:?}");
    }
}
