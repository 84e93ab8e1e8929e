//! What an object may lack that the API server can't see: a group of its own, a Secret.

use keyweir_e2e::cluster::condition;
use keyweir_e2e::wait;
use serde_json::Value;

use crate::world::{PATIENCE, produce, world};

#[test]
fn the_younger_of_two_objects_on_one_group_is_refused_until_the_older_one_goes() {
    let scene = world().scene("group");
    let manifest = scene.manifest(1, "");
    scene.apply(&manifest.replace("name: orders", "name: older"));
    // The times of creation are told in seconds.
    scene.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "stc/older"]);
    scene.apply(&manifest);
    let object = scene.until(|object| condition(object, "Accepted").0 == "False");
    assert_eq!(condition(&object, "Accepted").1, "GroupInUse");
    assert_eq!(scene.made("deployments"), Vec::<String>::new());
    scene.kubectl(&["delete", "stc/older", "--timeout=60s"]);
    scene.until_ready(1);
}

/// A password that is missing, then wrong, then right: told by its words, and taken up by the pod that is there.
#[test]
fn a_secret_that_is_missing_or_changes_is_told_and_taken_up_without_a_restart() {
    let scene = world().scene("secret");
    let (plain, sasl) = (scene.world.broker.kafka().bootstrap().to_owned(), scene.world.broker.sasl());
    let login = "group: 'GROUP', sasl: {mechanism: SCRAM-SHA-512, username: bob, \
                 passwordSecretKeyRef: {name: bob, key: password}}"
        .replace("GROUP", &scene.group);
    let manifest = scene.manifest(1, "").replace(&format!("group: '{}'", scene.group), &login);
    scene.apply(&manifest.replace(&plain, &sasl));
    let object = scene.until(|object| condition(object, "Accepted").0 == "False");
    assert_eq!(condition(&object, "Accepted").1, "SecretMissing");
    assert_eq!(condition(&object, "Ready"), ("False".to_owned(), "SecretMissing".to_owned()));
    let pods = scene.made("pods");

    let produced = produce(&scene.world.broker.kafka(), &scene.topic, 0..5);
    scene.kubectl(&["create", "secret", "generic", "bob", "--from-literal=password=wrong"]);
    until_taken_up(&scene, |object| {
        condition(object, "Accepted").0 == "True" && condition(object, "SourceReachable").0 == "False"
    });
    let password = r#"{"stringData": {"password": "bob-secret"}}"#;
    scene.kubectl(&["patch", "secret", "bob", "--patch", password]);
    until_taken_up(&scene, crate::world::ready);
    scene.until_clean(produced);
    assert_eq!(scene.made("pods"), pods);
    let list: Value = serde_json::from_str(&scene.kubectl(&["get", "pods", "--output", "json"])).unwrap();
    assert_eq!(list["items"][0]["status"]["containerStatuses"][0]["restartCount"], 0);
}

/// Waits for what follows a changed Secret. The kubelet brings it within a minute or two by itself, and sooner to a pod
/// that changes.
fn until_taken_up(scene: &crate::world::Scene, done: impl Fn(&Value) -> bool) {
    let mut looks = 0;
    wait::until("the changed Secret", PATIENCE, || {
        looks += 1;
        scene.kubectl(&["annotate", "pods", "--all", "--overwrite", &format!("test/looks={looks}")]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        scene
            .world
            .cluster
            .json(scene.namespace(), &["streamconsumer", "orders"])
            .is_ok_and(|object| done(&object))
    })
    .unwrap();
}
