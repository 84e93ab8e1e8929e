//! The charts: tested, installed twice side by side, removed while objects live.

use keyweir_e2e::wait;

use crate::world::{PATIENCE, SYSTEM, produce, world};

#[test]
fn the_installation_passes_its_own_test() {
    let printed = world().helm(&["test", "keyweir", "--namespace", SYSTEM, "--timeout", "3m"]);
    assert!(printed.contains("Succeeded"), "{printed}");
}

#[test]
fn an_operator_that_is_removed_leaves_workers_at_work_and_nothing_that_hangs() {
    let scene = world().scene("removed");
    let kafka = scene.world.broker.kafka();
    let namespace = scene.namespace();
    scene.world.install(
        "blue",
        namespace,
        &["--set", "class=blue", "--set", &format!("namespaces={{{namespace}}}")],
    );
    scene.apply(&scene.manifest(1, "  class: blue\n"));
    scene.until_ready(1);

    scene.world.helm(&["uninstall", "blue", "--namespace", namespace, "--wait", "--timeout", "2m"]);
    let produced = produce(&kafka, &scene.topic, 0..5);
    scene.until_handled(produced);
    scene.assert_clean(produced);

    scene.kubectl(&["delete", "stc/orders", "--timeout=60s"]);
    wait::until("no pods", PATIENCE, || scene.made("pods").is_empty()).unwrap();
    scene.world.cluster.kubectl(&["delete", "namespace", namespace, "--timeout=120s"]).unwrap();
}
