//! KEDA, as its metrics-api scaler works: it gets a URL, takes a number out of the answer, and scales by it. Object, URL,
//! place of the number and target are those of config/samples/keda.yaml.

use std::time::Duration;

use keyweir_e2e::cluster::condition;
use keyweir_e2e::http::http;
use keyweir_e2e::source::workspace_root;
use keyweir_e2e::wait;
use serde_json::Value;

use crate::world::{PATIENCE, Scene, produce, world};

/// The sample's object, at this scene's broker, and its trigger.
fn sample(scene: &Scene) -> (String, Value) {
    let text = std::fs::read_to_string(workspace_root().join("config/samples/keda.yaml")).unwrap();
    let (object, scaled) = text.split_once("\n---\n").unwrap();
    let bootstrap = scene.world.broker.kafka().bootstrap().to_owned();
    let mut object = object.to_owned();
    for (said, here) in [
        ("namespace: shop", format!("namespace: {}", scene.namespace())),
        ("\"kafka:9092\"", format!("\"{bootstrap}\"")),
        ("topics: [orders]", format!("topics: [{}]", scene.topic)),
        ("group: shop.orders", format!("group: {}", scene.group)),
        ("http://orders/", scene.world.witness.url()),
    ] {
        assert!(object.contains(said), "{said}");
        object = object.replace(said, &here);
    }
    let scaled: Value = serde_saphyr::from_str(scaled).unwrap();
    assert_eq!(scaled["spec"]["triggers"][0]["type"], "metrics-api");
    (object, scaled["spec"]["triggers"][0]["metadata"].clone())
}

/// What a poll finds: the number at the trigger's place in the answer to its URL; `None` = no number, and so no scaling.
fn poll(scene: &Scene, trigger: &Value) -> Option<i64> {
    let url = trigger["url"].as_str().unwrap().replace("shop", scene.namespace());
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let (service, port) = host.split_once(':').unwrap();
    let name = service.strip_suffix(&format!(".{}.svc", scene.namespace())).unwrap();
    let found = scene.world.cluster.json(scene.namespace(), &["service", name]).ok()?;
    // The name is DNS', for pods; the address is known to the host, too.
    let address = format!("{}:{port}", found["spec"]["clusterIP"].as_str()?);
    let (status, body) = http(&address, "GET", &format!("/{path}"), "").ok()?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    answer[trigger["valueLocation"].as_str()?].as_i64().filter(|_| status == 200)
}

/// Waits until a poll finds what is wanted.
fn until_polled(scene: &Scene, trigger: &Value, wanted: i64) {
    wait::until(&format!("a lag of {wanted}"), PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        poll(scene, trigger) == Some(wanted)
    })
    .unwrap_or_else(|late| panic!("{late}: {:?}", poll(scene, trigger)));
}

#[test]
fn an_autoscaler_is_told_the_lag_of_an_object_without_workers_and_scales_it_up_and_down() {
    let scene = world().scene("external");
    let produced = produce(&scene.world.broker.kafka(), &scene.topic, 0..5);
    let (object, trigger) = sample(&scene);
    scene.apply(&object);
    until_polled(&scene, &trigger, produced as i64);
    scene.until(|object| object["status"]["lag"]["records"] == 200);
    assert_eq!(produced, 200);

    let number = |field: &str| trigger[field].as_str().unwrap().parse::<i64>().unwrap();
    let (target, activation) = (number("targetValue"), number("activationTargetValue"));
    let replicas = |lag: i64| if lag > activation { (lag + target - 1) / target } else { 0 };
    let scale = |lag: i64| {
        scene.kubectl(&["scale", "stc/orders", &format!("--replicas={}", replicas(lag))]);
    };
    scale(200);
    scene.until_ready(1);
    scene.until_handled(produced);
    until_polled(&scene, &trigger, 0);
    scale(0);
    scene.until(|object| condition(object, "Ready") == ("True".to_owned(), "ScaledToZero".to_owned()));
    scene.assert_clean(produced);
}
