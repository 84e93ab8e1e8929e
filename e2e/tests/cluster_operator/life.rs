//! An object's life: applied, ready, at work, scaled, changed, deleted.

use std::time::{Duration, Instant};

use keyweir_e2e::cluster::condition;
use keyweir_e2e::wait;
use serde_json::json;

use crate::world::{PATIENCE, Stream, produce, world};

/// Everything that the operator makes for an object, and the pods.
const KINDS: &str = "deployments,statefulsets,pods,configmaps,services,serviceaccounts,poddisruptionbudgets";

#[test]
fn an_object_is_applied_scaled_under_load_and_deleted_without_a_trace() {
    let scene = world().scene("life");
    let kafka = scene.world.broker.kafka();
    scene.apply(&scene.manifest(1, ""));
    scene.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "stc/orders"]);
    assert_eq!(scene.made("pods").len(), 1);

    let first = produce(&kafka, &scene.topic, 0..10);
    scene.until_handled(first);
    wait::until("the group's offset at the end", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        kafka.lag(&scene.group, &scene.topic).is_ok_and(|lag| lag == 0)
    })
    .unwrap();
    let printed = scene.kubectl(&["get", "streamconsumers"]);
    let header: Vec<&str> = printed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NAME", "READY", "DESIRED", "CURRENT", "LAG", "IN-FLIGHT", "PARKED", "AGE"]);
    let row: Vec<&str> = printed.lines().nth(1).unwrap().split_whitespace().take(4).collect();
    assert_eq!(row, ["orders", "True", "1", "1"]);

    let stream = Stream::begin(kafka, &scene.topic, 10);
    scene.kubectl(&["scale", "stc/orders", "--replicas=4"]);
    scene.until_ready(4);
    wait::until("four pods at work", PATIENCE, || scene.world.witness.of(&scene.topic).pods.len() >= 4)
        .unwrap();
    scene.kubectl(&["scale", "stc/orders", "--replicas=2"]);
    scene.until_ready(2);
    wait::until("two pods", PATIENCE, || scene.made("pods").len() == 2).unwrap();
    scene.until_clean(stream.end());

    scene.kubectl(&["delete", "stc/orders", "--timeout=60s"]);
    wait::until("nothing left of it", PATIENCE, || scene.made(KINDS).is_empty()).unwrap();
}

/// deletionPolicy: Retain.
#[test]
fn an_object_that_is_deleted_and_made_anew_goes_on_where_it_was() {
    let scene = world().scene("anew");
    let kafka = scene.world.broker.kafka();
    scene.apply(&scene.manifest(1, ""));
    let first = produce(&kafka, &scene.topic, 0..5);
    scene.until_handled(first);
    scene.kubectl(&["delete", "stc/orders", "--timeout=60s"]);
    let produced = first + produce(&kafka, &scene.topic, 5..10);
    scene.apply(&scene.manifest(2, ""));
    scene.until_handled(produced);
    scene.until_ready(2);
    scene.assert_clean(produced);
}

/// deletionPolicy: Purge.
#[test]
fn an_object_that_is_purged_leaves_nothing_in_etcd_and_in_kafka() {
    let scene = world().scene("purge");
    let (kafka, etcd) = (scene.world.broker.kafka(), &scene.world.etcd);
    scene.apply(&scene.manifest(1, "  deletionPolicy: Purge\n"));
    let produced = produce(&kafka, &scene.topic, 0..5);
    scene.until_handled(produced);
    scene.until_ready(1);
    let prefix = format!("/keyweir/{}/orders/", scene.namespace());
    assert!(etcd.count(&prefix).unwrap() > 0);
    scene.kubectl(&["delete", "stc/orders", "--timeout=150s"]);
    assert_eq!(etcd.count(&prefix).unwrap(), 0);
    let committed = kafka.committed(&scene.group, &scene.topic).unwrap();
    assert!(committed.iter().all(|committed| committed.offset.is_none()), "{committed:?}");
    let all = format!("{KINDS},jobs");
    wait::until("nothing left of it", PATIENCE, || scene.made(&all).is_empty()).unwrap();

    // A namespace that ends takes it along: nothing can be made there any more.
    scene.apply(&scene.manifest(1, "  deletionPolicy: Purge\n"));
    scene.until_ready(1);
    scene.world.cluster.kubectl(&["delete", "namespace", scene.namespace(), "--timeout=150s"]).unwrap();
}

#[test]
fn what_workers_say_stands_in_the_status() {
    let scene = world().scene("status");
    let produced = produce(&scene.world.broker.kafka(), &scene.topic, 0..5);
    scene.apply(&scene.manifest(2, ""));
    scene.until_handled(produced);
    let object = scene.until(|object| {
        let status = &object["status"];
        status["lag"]["records"] == 0
            && status["inFlight"] == 0
            && status["shards"] == json!({"total": 8, "owned": 8})
            && status["members"] == 2
            && crate::world::ready(object)
    });
    for type_ in ["SourceReachable", "CoordinationReachable", "HandlerHealthy"] {
        assert_eq!(condition(&object, type_).0, "True", "{type_}");
    }
    let printed = scene.kubectl(&["get", "streamconsumers"]);
    let row: Vec<&str> = printed.lines().nth(1).unwrap().split_whitespace().take(6).collect();
    assert_eq!(row, ["orders", "True", "2", "2", "0", "0"]);
}

#[test]
fn a_topic_that_is_not_there_is_named_and_its_lag_is_unknown() {
    let scene = world().scene("missing");
    scene.apply(&scene.manifest(1, "").replace(&scene.topic, "nowhere"));
    let object = scene.until(|object| condition(object, "SourceReachable").0 == "False");
    assert_eq!(condition(&object, "SourceReachable").1, "TopicMissing");
    assert_eq!(object["status"]["lag"], json!(null));
    assert_eq!(object["status"]["lastError"]["reason"], "TopicMissing");
    scene.until(|object| condition(object, "Ready") == ("False".to_owned(), "TopicMissing".to_owned()));
}

#[test]
fn an_object_is_paused_stopped_and_resumed_without_a_loss() {
    let scene = world().scene("paused");
    let kafka = scene.world.broker.kafka();
    scene.apply(&scene.manifest(2, ""));
    let first = produce(&kafka, &scene.topic, 0..5);
    scene.until_handled(first);
    let pods = scene.made("pods");

    for (state, numbers) in [("Paused", 5..8), ("Stopped", 8..10)] {
        scene.apply(&scene.manifest(2, &format!("  state: {state}\n")));
        scene.until(|object| condition(object, "Ready") == ("True".to_owned(), state.to_owned()));
        // Workers take a changed configuration up when the kubelet has brought it; what comes before that is handled.
        produce(&kafka, &scene.topic, numbers);
    }
    scene.apply(&scene.manifest(2, "  state: Running\n"));
    scene.until_handled(first * 2);
    scene.until(|object| condition(object, "Ready") == ("True".to_owned(), "Available".to_owned()));
    scene.assert_clean(first * 2);
    assert_eq!(scene.made("pods"), pods);
}

#[test]
fn builtin_scaling_follows_the_lag_up_and_down_without_a_loss() {
    let scene = world().scene("scaling");
    scene.apply(&scene.manifest(
        1,
        "  execution: {concurrency: 2}\n  scaling: {mode: Builtin, builtin: {minReplicas: 1, recordsPerReplica: 500, \
         maxReplicas: 3, scaleDownDelay: 5s}}\n",
    ));
    scene.until_ready(1);
    let produced = produce(&scene.world.broker.kafka(), &scene.topic, 0..150);
    scene.until(|object| object["spec"]["replicas"] == 3);
    scene.until_handled(produced);
    let object = scene.until(|object| object["spec"]["replicas"] == 1 && crate::world::ready(object));
    assert!(object["status"]["scaling"]["lastScaleTime"].is_string(), "{object}");
    scene.assert_clean(produced);
    let told = scene.kubectl(&["get", "events", "--field-selector", "reason=Scaled", "--output", "json"]);
    assert!(told.contains("1 replicas become 3: MaxReplicas"), "{told}");
}

/// U141: nothing to do, no pods; the first record brings them back.
#[test]
fn an_object_without_work_falls_asleep_and_wakes_with_the_first_record() {
    let scene = world().scene("asleep");
    let kafka = scene.world.broker.kafka();
    scene.apply(&scene.manifest(1, "  scaling: {mode: Builtin, builtin: {scaleDownDelay: 2s}}\n"));
    let first = produce(&kafka, &scene.topic, 0..5);
    scene.until_handled(first);
    scene.until(|object| {
        object["spec"]["replicas"] == 0
            && condition(object, "Ready") == ("True".to_owned(), "ScaledToZero".to_owned())
            && condition(object, "SourceReachable").0 == "True"
            && object["status"]["lag"]["records"] == 0
    });
    wait::until("no pods", PATIENCE, || scene.made("pods").is_empty()).unwrap();

    let produced = first + produce(&kafka, &scene.topic, 5..6);
    let sent = Instant::now();
    scene.until(|object| object["spec"]["replicas"] == 1);
    println!("decided {:.1} s after the first record", sent.elapsed().as_secs_f64());
    scene.until_handled(produced);
    println!("handled {:.1} s after it was sent", sent.elapsed().as_secs_f64());
    scene.assert_clean(produced);
    let told = scene.kubectl(&["get", "events", "--field-selector", "reason=Scaled", "--output", "json"]);
    assert!(told.contains("1 replicas become 0: Idle") && told.contains("0 replicas become 1: "), "{told}");
}

/// Twenty pods are of use on few partitions.
#[test]
fn keys_are_routed_to_more_workers_than_there_are_partitions() {
    let scene = world().scene_with("routed", 2);
    scene.apply(&scene.manifest(4, "  routing: Key\n"));
    scene.until_ready(4);
    let stream = scene.stream();
    wait::until("four pods at work", PATIENCE, || scene.world.witness.of(&scene.topic).pods.len() >= 4)
        .unwrap();
    scene.kubectl(&["scale", "stc/orders", "--replicas=3"]);
    scene.until_ready(3);
    scene.until_clean(stream.end());
}

#[test]
fn a_live_change_keeps_the_pods_and_a_fixed_one_replaces_them_without_a_loss() {
    let scene = world().scene("change");
    scene.apply(&scene.manifest(2, ""));
    scene.until_ready(2);
    let pods = scene.made("pods");
    let stream = scene.stream();

    scene.apply(&scene.manifest(2, "  execution: {concurrency: 7}\n  observability: {logLevel: Debug}\n"));
    scene.until_ready(2);
    assert_eq!(scene.made("pods"), pods);

    scene.apply(&scene.manifest(2, "  ordering: Partition\n"));
    scene.until(|object| condition(object, "Progressing").0 == "True" || scene.made("pods") != pods);
    scene.until_ready(2);
    scene.until_replaced(&pods, 2);
    scene.until_clean(stream.end());
}
