//! The definition itself: in sync with the types, small, explained, with defaults that apply.

use std::path::Path;

use keyweir_crds::schema;
use serde_json::Value;

use crate::trial;

/// What client-side apply can carry in an annotation is 256 KiB; a definition stays well below.
const LARGEST: usize = 200 * 1024;

/// Optional objects whose absence says something, and what.
const ABSENT_SAYS: [(&str, &str); 14] = [
    ("spec.coordination.etcd.tls", "no settings of its own"),
    ("spec.handler.builtin.fail", "it is for Fail only"),
    ("spec.handler.container.securityContext", "the operator's own, which is stricter"),
    ("spec.handler.container.resources", "none are asked for"),
    ("spec.handlerOptions.batch", "records go one by one"),
    ("spec.onExhausted", "dead letters where they are named, else parked"),
    ("spec.onExhausted.park", "another action"),
    ("spec.onUndecodable", "as onExhausted"),
    ("spec.onUndecodable.park", "another action"),
    ("spec.onUnknown.park", "another action"),
    ("spec.pod.metadata", "nothing is added"),
    ("spec.pod.resources", "the operator's own"),
    ("spec.source.etcd.tls", "no settings of its own"),
    ("spec.source.kafka.tls", "no TLS"),
];

/// Where definitions lie. The chart needs files of its own: Helm packs nothing that lies outside of it.
const COPIES: [&str; 2] = ["../config/crd", "../charts/keyweir-crds/definitions"];

#[test]
fn the_generated_definitions_are_in_sync() {
    for definition in keyweir_crds::all() {
        let wanted = keyweir_crds::yaml::write(&definition).expect("a definition is YAML");
        for copy in COPIES {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(copy);
            let path = directory.join(format!("{}.yaml", definition.spec.names.plural));
            if std::env::var_os("KEYWEIR_REWRITE").is_some() {
                std::fs::write(&path, &wanted).expect("the file can be written");
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == wanted,
                "{} is not what crds/src says: run `KEYWEIR_REWRITE=1 cargo test --release --locked --workspace --test manifest`",
                path.display()
            );
        }
    }
}

#[test]
fn a_definition_is_small_enough_for_a_client_side_apply() {
    for definition in keyweir_crds::all() {
        let size = serde_json::to_vec(&definition).unwrap().len();
        assert!(size < LARGEST, "{} has {size} bytes, at most {LARGEST}", definition.spec.names.plural);
    }
}

#[test]
fn every_field_is_explained() {
    each_field(&mut |path, field| {
        let text = field["description"].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{path} has no description: write a doc comment");
        let begins = text.starts_with(|first: char| first.is_uppercase() || !first.is_alphabetic());
        let ours = !path.starts_with("status.conditions[]");
        assert!(begins || !ours, "{path}: {text:?} does not read by itself in kubectl explain");
        assert!(text.ends_with(['.', ')']) || !ours, "{path}: {text:?} is no sentence");
    });
}

#[test]
fn every_pattern_is_told_in_words() {
    fn patterns(schema: &Value, told: &mut impl FnMut(&str)) {
        match schema {
            Value::Object(keywords) => {
                keywords.get("pattern").and_then(Value::as_str).into_iter().for_each(&mut *told);
                keywords.values().for_each(|inner| patterns(inner, told));
            }
            Value::Array(items) => items.iter().for_each(|inner| patterns(inner, told)),
            _ => {}
        }
    }
    patterns(schema::stream_consumer(), &mut |pattern| {
        assert!(
            keyweir_crds::words::of(pattern).is_some(),
            "{pattern} has no words: add them to crds/src/words.rs"
        );
    });
}

#[test]
fn every_optional_object_has_a_default_or_its_absence_says_something() {
    let mut seen = Vec::new();
    each_optional(&mut |path, field| {
        if field["type"] != "object" || field.get("default").is_some() || !field["properties"].is_object() {
            return;
        }
        let needs_more = field["required"].as_array().is_some_and(|names| !names.is_empty())
            || field["x-kubernetes-validations"].as_array().is_some_and(|rules| {
                rules.iter().any(|rule| rule["message"].as_str().unwrap().starts_with("set exactly one"))
            });
        let known = ABSENT_SAYS.iter().find(|(known, _)| *known == path);
        seen.extend(known.map(|(known, _)| *known));
        // What stands in a route is the same type again.
        let repeated = path.starts_with("spec.routes[].handler.") || path.starts_with("status");
        assert!(
            needs_more || repeated || known.is_some(),
            "{path} has no default: its children's defaults never apply; add #[serde(default)]"
        );
    });
    let gone: Vec<_> = ABSENT_SAYS.iter().filter(|(path, _)| !seen.contains(path)).collect();
    assert!(gone.is_empty(), "no longer so: {gone:?}");
}

#[test]
fn a_default_of_an_object_is_empty_and_its_children_fill_it() {
    each_field(&mut |path, field| {
        if field["type"] == "object" {
            let default = field.get("default");
            assert!(
                default.is_none_or(|it| it.as_object().unwrap().is_empty()),
                "{path} repeats its children"
            );
        }
    });
    let whole = schema::with_defaults(schema::stream_consumer(), trial::minimal());
    assert_eq!(whole["spec"]["execution"]["limits"]["bytes"], "64Mi");
    assert_eq!(whole["spec"]["scaling"]["builtin"]["maxReplicas"], 50);
    assert_eq!(whole["spec"]["observability"]["tracing"]["otlpEndpoint"], "");
    assert_eq!(whole["spec"]["replicas"], 1, "the scale subresource fails without it");
}

#[test]
fn words_are_in_pascal_case_and_numbers_are_whole_and_bounded() {
    const THEIRS: [&str; 4] = ["JSON", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
    each_field(&mut |path, field| {
        for word in field["enum"].as_array().into_iter().flatten().map(|word| word.as_str().unwrap()) {
            let pascal = word.starts_with(|first: char| first.is_ascii_uppercase())
                && word.chars().all(char::is_alphanumeric);
            assert!(pascal || THEIRS.contains(&word), "{path}: {word}");
        }
        if !path.starts_with("spec") {
            return;
        }
        let kind = field["type"].as_str().unwrap_or_default();
        let has = |keyword: &str| field.get(keyword).is_some();
        assert_ne!(kind, "number", "{path}: no floats");
        assert!(kind != "integer" || has("minimum") && has("maximum"), "{path} has no bounds");
        assert!(kind != "string" || has("maxLength") || has("enum"), "{path} has no maxLength");
        assert!(kind != "array" || has("maxItems") && has("x-kubernetes-list-type"), "{path} has no bounds");
        assert!(
            kind != "object" || !has("additionalProperties") || has("maxProperties"),
            "{path} has no bounds"
        );
    });
}

/// U169.
#[test]
fn every_number_beyond_its_bounds_is_refused_by_its_name_and_every_one_left_out_is_told() {
    let mut tried = 0;
    each_field(&mut |path, field| {
        let bound = |keyword: &str| field[keyword].as_f64().map(|bound| bound as i64);
        let (true, Some(least), Some(most)) = (path.starts_with("spec."), bound("minimum"), bound("maximum"))
        else {
            return;
        };
        for wrong in [least - 1, most + 1] {
            let refused = trial::refusals(&trial::with_number(path, wrong));
            let at = format!("/{}", path.replace("[]", "/0").replace('.', "/"));
            assert!(refused.iter().any(|(field, _)| *field == at), "{path}: {wrong}: {refused:?}");
        }
        tried += 1;
    });
    assert!(tried > 40, "{tried}");
    each_optional(&mut |path, field| {
        let told = field.get("default").is_some()
            || field["description"].as_str().is_some_and(|text| text.contains("Absent: "));
        let ours = field["type"] == "integer" && path.starts_with("spec.");
        assert!(!ours || told, "{path} has no default, and does not say what its absence means");
    });
}

#[test]
fn the_columns_are_those_a_person_wants() {
    let definition = serde_json::to_value(&keyweir_crds::all()[0]).unwrap();
    let version = &definition["spec"]["versions"][0];
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let names = |priority: u64| -> Vec<&str> {
        let of = columns.iter().filter(|column| column["priority"].as_u64().unwrap_or(0) == priority);
        of.map(|column| column["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names(0), ["Ready", "Desired", "Current", "Lag", "In-Flight", "Parked", "Age"]);
    assert_eq!(names(1), ["Lag-Seconds", "State", "Source", "Group", "Handler", "Version", "Reason"]);
    assert_eq!(version["subresources"]["scale"]["labelSelectorPath"], ".status.selector");
    for column in columns {
        let path = column["jsonPath"].as_str().unwrap();
        let plain = path.starts_with(".metadata") || path.contains("conditions[?");
        let steps = path.trim_start_matches('.').split('.');
        let field = steps.fold(schema::stream_consumer(), |at, step| &at["properties"][step]);
        assert!(plain || field.is_object(), "{path} is no field");
    }
}

/// Every field of spec and status, with its path.
fn each_field(visit: &mut impl FnMut(&str, &Value)) {
    walk(schema::stream_consumer(), "", &mut |path, field, _| visit(path, field));
}

/// Every field that may be absent.
fn each_optional(visit: &mut impl FnMut(&str, &Value)) {
    walk(schema::stream_consumer(), "", &mut |path, field, required| {
        if !required {
            visit(path, field);
        }
    });
}

fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value, bool)) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        visit(&path, field, required.contains(&&Value::from(name.as_str())));
        walk(field, &path, visit);
        if field["items"].is_object() {
            walk(&field["items"], &format!("{path}[]"), visit);
        }
    }
}
