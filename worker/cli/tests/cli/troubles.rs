//! What may be missing or broken: the broker, the handler, the program, the data directory. It is named, it is waited
//! for where waiting helps, and nothing is lost.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use keyweir_e2e::broker::Broker;
use keyweir_e2e::ports::Port;
use serde_json::json;

use crate::support::scene::{From, Scene, numbered};

#[test]
fn a_broker_that_is_missing_is_named_and_waited_for() {
    let scene = Scene::set();
    let mut broker = Broker::start().expect("a broker");
    let topic = "waited".to_owned();
    broker.kafka().create_topic(&topic, 2, &[]).expect("a topic");
    let from = From::Kafka { broker: broker.kafka(), topic };
    scene.send(&from, &numbered(100, 10));
    broker.down().expect("it stops");
    let manifest = scene.manifest("waiting", &from, &scene.effects.handler(), "");
    let ended = scene.run_to_end(&manifest, &from, &["--until-idle", "1s", "--patience", "3s"]);
    ended.must(1);
    assert!(ended.err.contains("can't go on"), "{}", ended.err);
    let mut running = scene.run(&manifest, &from, &[]);
    running.see("what is missing", |running| {
        let (status, missing) = running.get("/readyz");
        (status == 503 && missing.contains("default/waiting: Timeout")).then_some(())
    });
    assert_eq!(running.get("/livez").0, 200);
    broker.up().expect("it starts");
    running.reach("waiting", "completed", 100);
    running.see("readiness", |running| (running.get("/readyz").0 == 200).then_some(()));
    assert_eq!(running.stop().0, Some(0));
    scene.verify();
}

#[test]
fn sending_to_a_missing_broker_says_so_once_and_soon() {
    let scene = Scene::set();
    scene.write("one.jsonl", "{}\n");
    let sent =
        scene.keyweir(&["send", "orders", "--file", "one.jsonl", "--bootstrap-servers", "127.0.0.1:1"]);
    sent.must(1);
    assert!(sent.err.contains("failed to reach 127.0.0.1:1"), "{}", sent.err);
    assert!(sent.err.contains("see that one runs there"), "{}", sent.err);
    assert_eq!(sent.err.matches("Connection refused").count(), 1, "{}", sent.err);
}

/// What librdkafka knows of it is told where people look: not only in its own log lines.
#[test]
fn a_broker_that_wants_tls_or_another_password_is_told_with_the_cause() {
    let scene = Scene::set();
    let broker = Broker::start().expect("a broker");
    let password = "apiVersion: v1\nkind: Secret\nmetadata: {name: k}\nstringData: {password: guessed}\n";
    let sasl = "sasl: {mechanism: PLAIN, username: alice, passwordSecretKeyRef: {name: k, key: password}}";
    for (address, more, words) in [
        (broker.kafka().bootstrap().to_owned(), "tls: {}", "connecting to a PLAINTEXT broker listener?"),
        (broker.tls(), "", "a broker that wants TLS does that"),
        (broker.sasl(), "", "a broker that wants a login does that"),
        (broker.tls(), "tls: {}", "certificate could not be verified"),
        (broker.sasl(), sasl, "Invalid username or password"),
    ] {
        let kafka = format!("bootstrapServers: [\"{address}\"], topics: [orders], group: orders, {more}");
        let manifest = format!(
            "apiVersion: keyweir.io/v1alpha1\nkind: StreamConsumer\nmetadata: {{name: away}}\nspec:\n  source: {{kafka: \
             {{{kafka}}}}}\n  handler: {{builtin: {{type: Drop}}}}\n---\n{password}"
        );
        let manifest = scene.write("away.yaml", &manifest.replace(", }", "}"));
        let from = From::Kafka { broker: broker.kafka(), topic: "orders".to_owned() };
        let ended = scene.run_to_end(&manifest, &from, &["--until-idle", "1s", "--patience", "3s"]);
        ended.must(1);
        let last = ended.err.lines().find(|line| line.contains("can't go on")).unwrap_or(&ended.err);
        assert!(last.contains(words), "{more}: {words} is not in {last}");
    }
}

#[test]
fn a_topic_that_is_missing_is_told_soon_with_the_fix() {
    let scene = Scene::set();
    let broker = keyweir_e2e::parts::kafka().expect("a broker");
    scene.write("one.jsonl", "{}\n");
    let arguments = ["send", "nowhere", "--file", "one.jsonl", "--bootstrap-servers", broker.bootstrap()];
    let sent = scene.keyweir(&arguments);
    sent.must(1);
    assert!(
        sent.err.contains("failed to write to topic nowhere: there is no such topic: create it"),
        "{}",
        sent.err
    );
    let from = From::Kafka { broker, topic: "nowhere".to_owned() };
    let manifest = scene.manifest("lost", &from, "builtin: {type: Drop}", "");
    let ended = scene.run_to_end(&manifest, &from, &["--until-idle", "1s", "--patience", "2s"]);
    ended.must(1);
    assert!(ended.err.contains("failed to find topic nowhere: create it"), "{}", ended.err);
}

/// Nobody should have to look for the reason: it stands in the log, once, and in the summary.
#[test]
fn why_records_fail_is_told_in_the_log_the_summary_and_where_they_are_parked() {
    let scene = Scene::set();
    let more = "retry: {maxAttempts: 2, initialDelay: 10ms}";
    let manifest = scene.manifest("failing", &From::Embedded, &scene.effects.handler(), more);
    let bad = |key| json!({"key": key, "value": {"act": "retry", "reason": "the bank is closed"}});
    scene.send(&From::Embedded, &[bad("a"), bad("b"), bad("c")]);
    let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]);
    ended.must(3);
    for (line, count) in [("an attempt failed", 1), ("a record is parked", 1)] {
        let told: Vec<_> = ended.err.lines().filter(|said| said.contains(line)).collect();
        assert_eq!(told.len(), count, "{}", ended.err);
        assert!(told[0].contains("the bank is closed") && told[0].contains("orders/"), "{}", told[0]);
    }
    let failure = ended.summary()["objects"][0]["lastFailure"].clone();
    assert!(failure.as_str().unwrap_or_default().contains("the bank is closed"), "{failure}");
    assert!(ended.err.contains("last failure  "), "{}", ended.err);
    // The process has ended, and what it has set aside can be looked at as the summary says.
    let data = scene.data().display().to_string();
    let listed = scene.keyweir(&["parked", "list", "--data", &data]);
    listed.must(0);
    assert_eq!(
        listed.out.matches("the bank is closed").count(),
        6,
        "as text and in the value: {}",
        listed.out
    );
    let id = listed.out.lines().nth(1).unwrap_or_default().split_whitespace().next().unwrap_or_default();
    let shown = scene.keyweir(&["parked", "show", id, "--data", &data]);
    shown.must(0);
    assert!(shown.out.contains("attempts  2") && shown.out.contains(" ago"), "{}", shown.out);
    let released = scene.keyweir(&["parked", "release", id, "--data", &data]);
    released.must(1);
    assert!(released.err.contains("start `keyweir run` first"), "{}", released.err);
}

#[test]
fn a_handler_that_is_down_is_named_before_there_is_a_record_and_costs_no_attempt() {
    let scene = Scene::set();
    let port = Port::take().expect("a port");
    let handler = format!("http: {{url: \"http://{}/\"}}", port.address());
    let manifest = scene.manifest("calling", &From::Embedded, &handler, "retry: {maxAttempts: 1}");
    let mut running = scene.run(&manifest, &From::Embedded, &[]);
    running.see("what is missing", |running| {
        let (status, missing) = running.get("/readyz");
        (status == 503 && missing.contains("handler")).then_some(())
    });
    scene.send(&From::Embedded, &numbered(20, 4));
    running.see("the first attempt", |running| {
        let (_, metrics) = running.get("/metrics");
        (!metrics.contains("keyweir_handler_unavailable_total{object=\"default/calling\"} 0")).then_some(())
    });
    serve(TcpListener::bind(port.address()).expect("the port is ours"));
    running.reach("calling", "completed", 20);
    running.see("readiness", |running| (running.get("/readyz").0 == 200).then_some(()));
    let object = running.object("calling").unwrap();
    assert_eq!((object["retries"].as_u64(), object["parked"].as_u64()), (Some(0), Some(0)), "{object}");
    assert_eq!(running.stop().0, Some(0));
    scene.verify();
}

#[test]
fn a_handler_that_comes_makes_an_idle_object_ready() {
    let scene = Scene::set();
    let port = Port::take().expect("a port");
    let handler = format!("http: {{url: \"http://{}/\"}}", port.address());
    let manifest = scene.manifest("idle", &From::Embedded, &handler, "");
    let mut running = scene.run(&manifest, &From::Embedded, &[]);
    running.see("that it is not ready", |running| (running.get("/readyz").0 == 503).then_some(()));
    serve(TcpListener::bind(port.address()).expect("the port is ours"));
    running.see("readiness", |running| (running.get("/readyz").0 == 200).then_some(()));
    assert_eq!(running.stop().0, Some(0));
}

/// Answers every request with 204, on kept connections, for as long as the test lives.
fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
}

fn answer(mut stream: TcpStream) {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read) = stream.read(&mut part) {
        if read == 0 {
            return;
        }
        text.extend_from_slice(&part[..read]);
        while let Some(length) = request_length(&text) {
            text.drain(..length);
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

/// The length of the first request, once it is whole.
fn request_length(text: &[u8]) -> Option<usize> {
    let end = text.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
    let body =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let length = end + body.unwrap_or(0);
    (text.len() >= length).then_some(length)
}

#[test]
fn a_program_that_is_missing_is_told_at_the_start_with_what_to_do() {
    let scene = Scene::set();
    scene.write("plain.py", "print()");
    for (program, words) in [
        ("no-such-program", "no-such-program can't be started"),
        ("./nowhere/handler.py", "give the path of a program"),
        ("./plain.py", "chmod +x"),
    ] {
        let manifest =
            scene.manifest("missing", &From::Embedded, &format!("exec: {{command: [{program}]}}"), "");
        let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]);
        ended.must(1);
        assert!(
            ended.err.contains("default/missing can't start") && ended.err.contains(words),
            "{}",
            ended.err
        );
    }
}

#[test]
fn a_program_that_cannot_work_ends_a_run_that_waits_for_idleness() {
    let scene = Scene::set();
    let program = scene.write("broken.sh", "#!/no/such/interpreter\n");
    let mut rights = std::fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o755);
    std::fs::set_permissions(&program, rights).unwrap();
    let handler = format!("exec: {{command: [{}]}}", program.display());
    let manifest = scene.manifest("broken", &From::Embedded, &handler, "");
    scene.send(&From::Embedded, &[json!({"key": "a", "value": {}})]);
    let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s", "--patience", "2s"]);
    ended.must(1);
    assert!(ended.err.contains("can't go on") && ended.err.contains("broken.sh"), "{}", ended.err);
    // Nothing was charged to the record.
    let manifest = scene.manifest("broken", &From::Embedded, &scene.effects.handler(), "");
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    assert_eq!(scene.effects.seen()[0].line["attempt"], 1);
    scene.verify();
}

#[test]
fn a_data_directory_that_is_none_or_damaged_is_refused_with_the_way_out() {
    let scene = Scene::set();
    let manifest = scene.manifest("any", &From::Embedded, &scene.effects.handler(), "");
    let file = scene.write("data", "no directory");
    let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]);
    ended.must(1);
    assert!(ended.err.contains("failed to open the data directory"), "{}", ended.err);
    std::fs::remove_file(file).unwrap();
    scene.send(&From::Embedded, &numbered(100, 10));
    let identity = scene.path("data/identity");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, &text[..10]).unwrap();
    for act in [
        scene.run_to_end(&manifest, &From::Embedded, &[]),
        scene.keyweir(&["send", "orders", "--data", "data"]),
    ] {
        act.must(1);
        assert!(act.err.contains("restore the directory from a copy"), "{}", act.err);
    }
    std::fs::write(&identity, text).unwrap();
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    scene.verify();
}
