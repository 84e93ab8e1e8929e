//! What a user sees: columns, events, parked records, the status page; and a roll-out that goes wrong, before it has gone
//! far.

use keyweir_e2e::cluster::condition;
use keyweir_e2e::http::http;
use keyweir_e2e::kafka::Record;
use keyweir_e2e::wait;
use serde_json::{Value, json};

use crate::world::{PATIENCE, SYSTEM, produce, ready, world};

/// U164.
#[test]
fn parked_records_are_seen_in_columns_events_and_on_the_status_page() {
    let scene = world().scene("aside");
    let kafka = scene.world.broker.kafka();
    scene.apply(&scene.manifest(1, "  decode: {format: JSON}\n  onUndecodable: {action: Park}\n"));
    let produced = produce(&kafka, &scene.topic, 0..5);
    kafka.produce(&scene.topic, &[Record::new("key-0", "{"), Record::new("key-1", "{")]).unwrap();
    scene.until_handled(produced);
    let object = scene.until(|object| {
        let status = &object["status"];
        status["parked"] == 2
            && status["lag"]["records"] == 0
            && status["lag"]["seconds"] == 0
            && ready(object)
    });
    assert_eq!(condition(&object, "Lagging"), ("False".to_owned(), "BelowThreshold".to_owned()));
    let told =
        scene.kubectl(&["get", "events", "--field-selector", "reason=RecordParked", "--output", "json"]);
    assert!(told.contains("are kept aside"), "{told}");
    let printed = scene.kubectl(&["get", "streamconsumers", "--output", "wide"]);
    let header: Vec<&str> = printed.lines().next().unwrap().split_whitespace().collect();
    let wide = ["LAG-SECONDS", "STATE", "SOURCE", "GROUP", "HANDLER", "VERSION", "REASON"];
    assert_eq!(header[8..], wide);
    let row: Vec<&str> = printed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[6], row[8], row[9], row[10]), ("2", "0", "Running", "Kafka"));

    let page = scene.world.cluster.forward(SYSTEM, "deployment/keyweir", 8081).unwrap();
    let ask = |path: &str| -> Value {
        let (code, body) = http(&page.address(), "GET", path, "").unwrap();
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or(Value::Null)
    };
    let name = format!("{}/orders", scene.namespace());
    let overview = ask(&format!("/v1/overview?find={name}"));
    let object = &overview["objects"][0];
    assert_eq!(
        (&object["name"], &object["parked"], &object["reason"]),
        (&json!("orders"), &json!(2), &json!("Available"))
    );
    assert!(overview["happenings"].to_string().contains("RecordParked"), "{overview}");
    let detail = ask(&format!("/v1/objects/{name}"));
    assert_eq!(detail["members"][0]["shards"].as_array().map(Vec::len), Some(8), "{detail}");
}

/// U148.
#[test]
fn a_roll_out_whose_workers_do_not_become_ready_stops_and_the_old_ones_go_on() {
    let scene = world().scene("bad");
    let manifest = scene.manifest(2, "");
    scene.apply(&manifest);
    scene.until_ready(2);
    let old = scene.made("pods");
    let stream = scene.stream();
    scene.until_handled(200);

    let nobody = manifest.replace(&scene.world.witness.url(), "http://127.0.0.1:9/");
    scene.apply(&nobody);
    scene.until(|object| {
        condition(object, "HandlerHealthy").0 == "False" && condition(object, "Ready").0 == "False"
    });
    let handled = scene.world.witness.of(&scene.topic).handled;
    scene.until_handled(handled + 1000);
    let now = scene.made("pods");
    assert!(old.iter().all(|pod| now.contains(pod)), "the old ones stay: {old:?}, {now:?}");
    assert_eq!(now.len(), 3, "one was tried: {now:?}");

    scene.apply(&manifest);
    scene.until_ready(2);
    let produced = stream.end();
    scene.until_handled(produced);
    scene.assert_whole(produced);
    wait::until("the one that was tried to be gone", PATIENCE, || scene.made("pods").len() == 2).unwrap();
}
