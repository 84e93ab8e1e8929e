//! The charts: tested, installed twice side by side, removed while objects live.

use std::collections::BTreeSet;
use std::fs;

use keyweir_e2e::source::workspace_root;
use keyweir_e2e::wait;

use crate::world::{PATIENCE, SYSTEM, chart, produce, world};

#[test]
fn the_installation_passes_its_own_test() {
    let _undisturbed = world().undisturbed();
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
    scene.until_clean(produced);

    scene.kubectl(&["delete", "stc/orders", "--timeout=60s"]);
    wait::until("no pods", PATIENCE, || scene.made("pods").is_empty()).unwrap();
    scene.world.cluster.kubectl(&["delete", "namespace", namespace, "--timeout=120s"]).unwrap();
}

#[test]
fn the_plain_manifest_is_what_the_chart_says() {
    let world = world();
    let _undisturbed = world.undisturbed();
    let said = world.helm(&["template", "keyweir", &chart("keyweir"), "--namespace", SYSTEM, "--skip-tests"]);
    let wanted = format!(
        "# What charts/keyweir says with its defaults; a test compares. KEYWEIR_REWRITE=1 writes it.\n{said}"
    );
    let folder = workspace_root().join("config/install");
    let path = folder.join("operator.yaml");
    if std::env::var_os("KEYWEIR_REWRITE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == wanted, "run this test with KEYWEIR_REWRITE=1");
    let folder = folder.display().to_string();
    let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", &folder];
    // The namespace is there: what lies in it can be tried.
    let printed = world.cluster.kubectl(&arguments).unwrap();
    assert!(printed.contains("deployment.apps/keyweir serverside-applied"), "{printed}");
}

#[test]
fn charts_that_say_everything_are_without_fault() {
    let all = "metrics.podMonitor.enabled=true,metrics.rules.enabled=true,metrics.dashboard.enabled=true,\
               etcd.tryout.enabled=true,kafka.tryout.enabled=true,networkPolicy.enabled=true,operator.replicas=2,\
               namespaces={a,b}";
    world().helm(&["lint", "--strict", &chart("keyweir"), "--set", all]);
    world().helm(&["lint", "--strict", &chart("keyweir-crds")]);
    let printed = world().helm(&["template", "keyweir", &chart("keyweir"), "--set", all]);
    for kind in ["PodMonitor", "PrometheusRule", "PodDisruptionBudget", "StatefulSet"] {
        assert!(printed.contains(&format!("kind: {kind}\n")), "{kind}");
    }
    assert!(printed.contains("keyweir_lag_records"), "the dashboard is missing");
}

#[test]
fn wrong_values_are_refused_with_what_is_wrong() {
    let etcd = "coordination.type=Etcd,coordination.etcd.endpoints={https://etcd:2379}";
    for (wrong, words) in [
        ("operator.replica=2", "'replica' not allowed"),
        ("operator.logLevel=loud", "'loud' does not match"),
        ("operator.resources.limit.memory=1Gi", "'limit' not allowed"),
        ("operator.podLabels.app\\.kubernetes\\.io/name=mine", "app.kubernetes.io/name"),
        ("image.registry=https://registry.example", "does not match"),
        ("namespaces={Shop}", "'Shop' does not match"),
        ("coordination.memberTTL=1s", "'1s' does not match"),
        ("coordination.type=Etcd", "names no server: set coordination.etcd.endpoints="),
        ("coordination.etcd.endpoints={https://etcd:2379}", "set coordination.type=Etcd"),
        (&format!("{etcd},etcd.tryout.enabled=true"), "two etcds are named"),
        (&format!("{etcd},coordination.etcd.tls.cacert=a"), "'cacert' not allowed"),
        (&format!("{etcd},coordination.etcd.auth.username=shop"), "'passwordSecretKeyRef' required"),
    ] {
        let arguments = ["template", "keyweir", &chart("keyweir"), "--set", wrong];
        let said = world().cluster.helm(&arguments).expect_err(wrong).to_string();
        assert!(said.contains(words), "{wrong}: {words} is not in {said}");
    }
}

#[test]
fn dashboard_and_alerts_speak_of_metrics_that_there_are() {
    let read = |path: &str| fs::read_to_string(workspace_root().join(path)).unwrap();
    let known = read("worker/src/metrics.rs") + &read("operator/src/metrics.rs");
    let text = read("charts/keyweir/dashboards/keyweir.json") + &read("charts/keyweir/templates/rules.yaml");
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let names: BTreeSet<&str> = words.filter(|word| word.starts_with("keyweir_")).collect();
    assert!(names.len() > 12, "{names:?}");
    for name in names {
        let bare = name.trim_end_matches("_total").trim_end_matches("_bucket");
        let bare = bare.strip_prefix("keyweir_operator_").unwrap_or(bare);
        assert!(known.contains(&format!("\"{bare}\"")), "{name} is no metric of worker or operator");
    }
}
