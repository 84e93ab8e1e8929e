//! Manifests that are wrong: all that is wrong is told at once, with lines, by check and by run alike.

use crate::support::scene::{From, Scene};

const WRONG: &str = "\
apiVersion: keyweir.io/v1alpha1
kind: StreamConsumer
metadata: {name: orders}
spec:
  source:
    kafka:
      bootstrapServers: []
      topics: [orders]
      group: shop.orders
      grup: shop
  handler:
    http: {url: \"orders\"}
    builtin: {type: Drop}
  execution: {concurrency: 0}
  ordering: PerKey
  retry: {maxAttempts: three}
---
kind: Deployment
---
apiVersion: keyweir.io/v1alpha1
kind: StreamConsumer
metadata: {name: on}
spec: {}
";

#[test]
fn check_and_run_tell_all_mistakes_at_once_with_their_lines() {
    let scene = Scene::set();
    let manifest = scene.write("wrong.yaml", WRONG);
    let checked = scene.keyweir(&["check", "-f", "wrong.yaml"]);
    checked.must(2);
    for part in [
        "wrong.yaml:7: spec.source.kafka.bootstrapServers",
        "wrong.yaml:10: spec.source.kafka.grup",
        "wrong.yaml:12: spec.handler.http.url",
        "wrong.yaml:14: spec.execution.concurrency",
        "wrong.yaml:15: spec.ordering",
        "wrong.yaml:16: spec.retry.maxAttempts",
        "wrong.yaml:18: kind: Deployment is not known here",
        "put the name in quotes",
    ] {
        assert!(checked.err.contains(part), "{part} is not in:\n{}", checked.err);
    }
    let run = scene.run_to_end(&manifest, &From::Embedded, &[]);
    run.must(2);
    assert_eq!(run.err, checked.err.replace("wrong.yaml:", &format!("{}:", manifest.display())));
    assert!(!scene.data().exists(), "a wrong manifest leaves nothing behind");
}

#[test]
fn rules_between_fields_are_told_with_the_fix() {
    let scene = Scene::set();
    scene.manifest("twice", &From::Embedded, "{http: {url: \"http://a/\"}, builtin: {type: Drop}}", "");
    let checked = scene.keyweir(&["check", "-f", "twice.yaml"]);
    checked.must(2);
    assert!(checked.err.contains("spec.handler"), "{}", checked.err);
    scene.manifest("delayed", &From::Embedded, "builtin: {type: Delay}", "");
    let checked = scene.keyweir(&["check", "-f", "delayed.yaml"]);
    checked.must(2);
    assert!(checked.err.contains("set delay together with type: Delay"), "{}", checked.err);
    scene.manifest("fine", &From::Embedded, "builtin: {type: Drop}", "");
    let checked = scene.keyweir(&["check", "-f", "fine.yaml"]);
    checked.must(0);
    assert!(checked.out.contains("default/fine is fine"), "{}", checked.out);
    let twins = scene.keyweir(&["check", "-f", "fine.yaml", "-f", "fine.yaml"]);
    twins.must(2);
    assert!(twins.err.contains("another object has this name"), "{}", twins.err);
}

#[test]
fn what_a_file_lacks_is_told() {
    let scene = Scene::set();
    for (name, text, words) in [
        ("empty.yaml", "", "there is no StreamConsumer"),
        ("broken.yaml", "a: [", "this is no YAML"),
        ("nowhere/x.yaml", "", "can't be read"),
    ] {
        if !name.contains('/') {
            scene.write(name, text);
        }
        let checked = scene.keyweir(&["check", "-f", name]);
        checked.must(2);
        assert!(checked.err.contains(words), "{words} is not in {}", checked.err);
    }
    let container = "container: {image: \"registry.example/orders:1\"}";
    let manifest = scene.manifest("boxed", &From::Embedded, container, "");
    let run = scene.run_to_end(&manifest, &From::Embedded, &[]);
    run.must(2);
    assert!(run.err.contains("--handler-url"), "{}", run.err);
}
