//! Manifests that are wrong: all that is wrong is told at once, with lines, by check and by run alike.

use crate::support::scene::{From, Scene, manifest};

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

/// U169: what to write instead is told, with the field.
#[test]
fn wrong_words_are_told_with_what_is_wanted() {
    let scene = Scene::set();
    let right = manifest("orders", &From::Embedded, "builtin: {type: Drop}", "drainTimeout: 5s");
    for (part, wrong, words) in [
        (
            "name: orders",
            "name: Orders of mine",
            "metadata.name: \"Orders of mine\" does not fit: want lower-case",
        ),
        (
            "name: orders",
            "name: orders, namespace: A",
            "metadata.namespace: \"A\" does not fit: want lower-case",
        ),
        ("name: orders", "name: orders, lables: {}", "metadata.lables: there is no such field"),
        (
            "kind: Str",
            "colour: {}\nkind: Str",
            "colour: there is no such field: want one of apiVersion, kind",
        ),
        ("[orders]", "[or ders]", "topics[0]: \"or ders\" does not fit: want letters, digits"),
        ("[orders]", "[..]", "topics[0]: \"..\" does not fit: want letters, digits"),
        ("[orders]", "orders", "topics: \"orders\" is no list: want [\"orders\"]"),
        ("[orders]", "[]", "topics: there are 0 items: want 1 or more"),
        ("[orders]", "[no]", "topics[0]: YAML reads this as false: want text, so put it in quotes"),
        ("orders.group", "\"\"", "group: \"\" does not fit: want letters, digits"),
        ("orders.group", "7", "group: YAML reads this as 7: want text, so put it in quotes"),
        ("127.0.0.1:1", "127.0.0.1", "bootstrapServers[0]: \"127.0.0.1\" does not fit: want host and port"),
        ("Timeout: 5s", "Timeout: -5s", "drainTimeout: \"-5s\" does not fit: want a duration such as"),
        ("Timeout: 5s", "Timeout: 5", "drainTimeout: 5 does not fit: want a duration such as"),
        ("Timeout: 5s", "Timeout: 5 minutes", "drainTimeout: \"5 minutes\" does not fit: want a duration"),
        ("Timeout: 5s", "Timeout: 99999h", "drainTimeout: must be between 0s and 1h"),
        ("Timeout: 5s", "Timeout: 5s\n  drainTimeout: 6s", "drainTimeout stands here for the second time"),
        (
            "Timeout: 5s",
            "Timeout: 5s\n  execution: {concurrency: 1.5}",
            "concurrency: 1.5 does not fit: want a whole",
        ),
        ("Timeout: 5s", "Timeout: 5s\n  execution: {concurrency: 1e30}", "is too much: want 100000 or less"),
        (
            "Timeout: 5s",
            "Timeout: 5s\n  execution: {limits: {bytes: 9Ei}}",
            "\"9Ei\" does not fit: want a whole number of",
        ),
        (
            "builtin: {type: Drop}",
            "http: {url: \"ftp://a/\"}",
            "http.url: \"ftp://a/\" does not fit: want a URL",
        ),
        (
            "builtin: {type: Drop}",
            "http: {url: \"http://:80/\"}",
            "http.url: \"http://:80/\" does not fit: want a URL",
        ),
        (
            "builtin: {type: Drop}",
            "exec: {command: python3 a.py}",
            "command: \"python3 a.py\" is no list: want [\"python3\", \"a.py\"]",
        ),
        ("drainTimeout", "drainTimeot", "drainTimeot: there is no such field: want drainTimeout\n"),
        ("handler:", "handlr:", "handlr: there is no such field: want handler\nkeyweir: 1 mistake\n"),
        (", group: orders.group", "", "source.kafka: group is missing: add it"),
        ("Timeout: 5s", "Timeout: 5s\n  ordering: key", "ordering: \"key\" does not fit: want Key\n"),
        ("Timeout: 5s", "Timeout: 5s\n  decode: {format: Avro}", "want one of Raw, JSON, String, Streamback"),
        ("Timeout: 5s", "Timeout: 5s\n  onExhausted: {action: dead-letter}", "want DeadLetter\n"),
        (
            "Timeout: 5s",
            "Timeout: 5s\n  onExhausted: {deadLetter: dlq}",
            "this is text: want fields below it",
        ),
        ("Timeout: 5s", "Timeout: 5s\n  replicas: \"3\"", "want a number, so leave the quotes out"),
        ("Timeout: 5s", "Timeout: 5s\n  outputs: {name: a}", "want a list, each item behind a dash"),
        ("  handler:", "\thandler:", "a tab begins this line: indent with blanks"),
        ("name: orders", "name: {{ .Release.Name }}", "render it first, as with `helm template`"),
        ("kind: Str", "kind: str", "streamConsumer is not known here: want StreamConsumer\n"),
    ] {
        assert!(right.contains(part), "{part}");
        scene.write("wrong.yaml", &right.replacen(part, wrong, 1));
        let checked = scene.keyweir(&["check", "-f", "wrong.yaml"]);
        checked.must(2);
        assert!(checked.err.starts_with("wrong.yaml:"), "{}", checked.err);
        assert!(checked.err.contains(words), "{wrong}: {words} is not in {}", checked.err);
    }
}

#[test]
fn mistakes_come_in_the_order_of_their_lines() {
    let scene = Scene::set();
    scene.write("wrong.yaml", WRONG);
    let checked = scene.keyweir(&["check", "-f", "wrong.yaml"]);
    let numbers = checked.err.lines().filter_map(|line| line.split(':').nth(1)?.parse::<usize>().ok());
    let numbers: Vec<_> = numbers.collect();
    assert!(numbers.len() > 6 && numbers.is_sorted(), "{}", checked.err);
}

#[test]
fn what_belongs_to_somebody_else_is_passed_over_and_standard_input_is_a_file() {
    let scene = Scene::set();
    let object = manifest("orders", &From::Embedded, "builtin: {type: Drop}", "");
    let others = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: orders}\n---\n";
    let path = scene.write("all.yaml", &format!("{others}{object}"));
    let checked = scene.keyweir(&["check", "-f", "all.yaml"]);
    checked.must(0);
    assert!(checked.err.contains("all.yaml:1: note: Deployment is passed over"), "{}", checked.err);
    let mut command = scene.command(&["check", "-f", "-"]);
    let output = command.stdin(std::fs::File::open(path).unwrap()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("default/orders is fine"), "{output:?}");
    told(&scene, &["run", "-f", "-"], 2, "give it a file");
}

#[test]
fn a_rendered_handler_is_asked_where_the_manifest_says() {
    let scene = Scene::set();
    for (handler, url) in [
        ("http: {url: \"http://orders:9000/\"}", "http://orders:9000/"),
        (
            "container: {image: \"registry.example/orders:1\", port: 9000, path: /records}",
            "http://127.0.0.1:9000/records",
        ),
    ] {
        scene.manifest("orders", &From::Embedded, handler, "");
        let rendered = scene.keyweir(&["render", "-f", "orders.yaml"]);
        rendered.must(0);
        let rendered: serde_json::Value = serde_json::from_str(&rendered.out).unwrap();
        assert_eq!(rendered["fixed"]["handler"]["handler"]["http"]["url"], url);
    }
}

/// What is asked of the command itself.
#[test]
fn wrong_arguments_are_told_with_what_is_wanted() {
    let scene = Scene::set();
    scene.manifest("plain", &From::Embedded, "builtin: {type: Drop}", "");
    scene.write("no-log.yaml", "kind: Deployment\n");
    scene.write("plain.txt", "good morning\n");
    let run = ["run", "-f", "plain.yaml", "--listen", "127.0.0.1:0"];
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--embedded", "--until-idle", "5"], 2, "want 500ms, 2s or 1m30s"),
        (&["--embedded", "--feed", "other=plain.txt"], 2, "name one that is read: orders"),
        (&["--feed", "orders=plain.txt"], 2, "give --embedded"),
        (&["--embedded", "--feed", "orders=plain.txt"], 1, "want an object such as"),
        (&["--embedded", "--feed", "orders=none.txt"], 1, "failed to open none.txt"),
        (&["--embedded", "--data", "/proc/none"], 1, "use a directory on a disk that can be written to"),
        (&["--embedded", "--handler-url", "http://a/"], 2, "remove it"),
        (&["--embedded", "--secrets", "none"], 1, "none"),
    ];
    for (arguments, code, words) in cases {
        told(&scene, &run.iter().chain(arguments).copied().collect::<Vec<_>>(), code, words);
    }
    let cases: [(&[&str], i32, &str); 14] = [
        (&["run", "-f", "plain.yaml", "--embedded", "--listen", "localhost:8080"], 2, "want 127.0.0.1:8080"),
        (&["run", "-f", "plain.yaml", "--embedded", "--listen", "192.0.2.1:80"], 1, "with --listen"),
        (&["send", "or ders", "--file", "plain.txt", "--format", "lines"], 1, "want 1 to 249 letters"),
        (&["send", "orders", "--file", "plain.txt"], 1, "line 1 as a record"),
        (&["send", "orders", "--file", "."], 1, "Is a directory"),
        (&["send", "orders", "--rate", "0"], 2, "0 is not in 1.."),
        (&["send", "orders", "--rate", "-1"], 2, "-1 is not in 1.."),
        (&["verify", "/dev/null"], 1, ""),
        (&["parked", "list", "--url", "http://127.0.0.1:1"], 1, "listens there: Connection refused"),
        (
            &["shards", "--endpoints", "http://127.0.0.1:1", "--object", "a/b"],
            1,
            "to list keys: http://127.0.0.1:1: Connection refused",
        ),
        (&["verify", "no-log.yaml"], 1, "give what `keyweir run --event-log FILE` wrote"),
        (&["parked", "list", "--url", "nonsense"], 1, "want http://HOST:PORT"),
        (&["parked", "list", "--data", "nowhere"], 1, "start `keyweir run`"),
        (&["members", "-f", "plain.yaml"], 2, "set spec.coordination.type: Etcd"),
    ];
    for (arguments, code, words) in cases {
        told(&scene, arguments, code, words);
    }
}

#[track_caller]
fn told(scene: &Scene, arguments: &[&str], code: i32, words: &str) {
    let done = scene.keyweir(arguments);
    assert_eq!(done.code, Some(code), "{arguments:?}: {}", done.err);
    assert!(done.err.contains(words), "{arguments:?}: {words} is not in {}", done.err);
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

#[test]
fn what_a_file_lacks_is_told() {
    let scene = Scene::set();
    for (name, text, words) in [
        ("empty.yaml", "", "there is no StreamConsumer"),
        ("others.yaml", "apiVersion: v1\nkind: Service\n", "only kinds that are not Keyweir's"),
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

#[test]
fn definitions_and_completion_scripts_are_printed_as_they_are_used() {
    let scene = Scene::set();
    let printed = scene.keyweir(&["crds"]);
    printed.must(0);
    let kept = include_str!("../../../../config/crd/streamconsumers.yaml");
    assert!(printed.out.contains(kept), "what `keyweir crds` prints is what the charts install");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = scene.keyweir(&["completion", shell]);
        script.must(0);
        assert!(
            script.out.contains("until-idle") && script.out.contains("parked"),
            "{shell}: {}",
            script.out
        );
    }
    // A shell that has read it offers what begins alike.
    let asked = "source <(\"$0\" completion bash); COMP_WORDS=(keyweir par); COMP_CWORD=1; \
                 _keyweir keyweir par keyweir; echo \"${COMPREPLY[@]}\"";
    let program = env!("CARGO_BIN_EXE_keyweir");
    let offered = std::process::Command::new("bash").args(["-c", asked, program]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&offered.stdout).trim(), "parked", "{offered:?}");
}
