//! Installations: side by side, with two replicas of which one leads, upgraded while objects live.

use keyweir_e2e::cluster::condition;
use keyweir_e2e::scratch::Scratch;
use keyweir_e2e::wait;
use serde_json::{Value, json};

use crate::world::{PATIENCE, SYSTEM, Scene, chart, ready, world};

impl Scene {
    /// Installs an operator of that class for this namespace alone.
    fn install(&self, class: &str, more: &[&str]) {
        let namespace = self.namespace();
        let (class_is, only) = (format!("class={class}"), format!("namespaces={{{namespace}}}"));
        let own = ["--set", &class_is, "--set", &only];
        self.world.install(class, namespace, &[&own[..], more].concat());
    }

    fn may(&self, who: &str, verb: &str, what: &str, namespace: &str) -> bool {
        let asked = ["auth", "can-i", verb, what, "--as", who, "--namespace", namespace];
        // It answers no by failing, too.
        self.world.cluster.kubectl(&asked).is_ok_and(|said| said.trim() == "yes")
    }
}

#[test]
fn two_installations_look_after_their_own_class_and_one_of_them_after_its_namespace_only() {
    let scene = world().scene("sides");
    scene.install("green", &[]);
    scene.apply(&scene.manifest(1, "  class: green\n"));
    scene.until_ready(1);
    scene.kubectl(&["delete", "stc/orders", "--timeout=60s"]);
    // The other one looks after the same namespace, and after those that name no class.
    let other = scene.manifest(1, "").replace("name: orders", "name: other");
    scene.apply(&other);
    scene.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "stc/other"]);
    for (installation, selector, sees) in [
        (SYSTEM, "deployment/keyweir", "shop"),
        (scene.namespace(), "deployment/green-keyweir", scene.namespace()),
    ] {
        let who = installation_account(&scene, installation, selector);
        assert!(scene.may(&who, "patch", "deployments.apps", sees), "{who}");
        assert!(!scene.may(&who, "get", "secrets", sees), "{who} reads no Secret");
    }
    let green = installation_account(&scene, scene.namespace(), "deployment/green-keyweir");
    assert!(!scene.may(&green, "list", "streamconsumers.keyweir.io", "default"), "no other namespace");
    scene.world.helm(&["uninstall", "green", "--namespace", scene.namespace(), "--wait"]);
}

/// The user name of a Deployment's service account.
fn installation_account(scene: &Scene, namespace: &str, deployment: &str) -> String {
    let found = scene.world.cluster.json(namespace, &[deployment]).unwrap();
    let account = found["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap().to_owned();
    format!("system:serviceaccount:{namespace}:{account}")
}

/// Who may edit a namespace may edit its objects, who may view it may view them, by the roles that every cluster has.
#[test]
fn those_who_may_edit_or_view_a_namespace_may_do_so_with_its_objects() {
    let scene = world().scene("roles");
    for (role, edits) in [("admin", true), ("edit", true), ("view", false)] {
        scene.kubectl(&["create", "serviceaccount", role]);
        let account = format!("{}:{role}", scene.namespace());
        scene.kubectl(&["create", "rolebinding", role, "--clusterrole", role, "--serviceaccount", &account]);
        let who = format!("system:serviceaccount:{account}");
        let may = |verb: &str| scene.may(&who, verb, "streamconsumers.keyweir.io", scene.namespace());
        // The roles are put together by a controller.
        wait::until("the aggregated role", PATIENCE, || may("get")).unwrap();
        for verb in ["create", "update", "patch", "delete"] {
            assert_eq!(may(verb), edits, "{role} {verb}");
        }
        let scales = scene.may(&who, "patch", "streamconsumers.keyweir.io/scale", scene.namespace());
        assert_eq!(scales, edits, "{role} scales");
    }
}

#[test]
fn a_leader_that_is_killed_in_the_middle_of_a_change_is_followed_by_the_other_replica() {
    let scene = world().scene("leaders");
    scene.install("pair", &["--set", "operator.replicas=2"]);
    scene.apply(&scene.manifest(2, "  class: pair\n"));
    scene.until_ready(2);
    let stream = scene.stream();
    let leader = || {
        let lease = scene.world.cluster.json(scene.namespace(), &["lease", "pair-keyweir"]).unwrap();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    // Without a word, and as a node that is drained does it: the lease ends, and is given back.
    for (ordering, gone) in [("Partition", &["--grace-period=0", "--force"][..]), ("Key", &[])] {
        let (before, pods) = (leader(), scene.made("pods"));
        scene.apply(&scene.manifest(2, &format!("  class: pair\n  ordering: {ordering}\n")));
        scene.kubectl(&[&["delete", "pod", &before, "--wait=false"], gone].concat());
        scene.until_ready(2);
        scene.until_replaced(&pods, 2);
        assert_ne!(leader(), before);
    }
    scene.until_clean(stream.end());
    scene.world.helm(&["uninstall", "pair", "--namespace", scene.namespace(), "--wait"]);
}

/// Both charts become the next version while an object is at work; what the definitions lacked is there, what ran goes on.
#[test]
fn an_upgrade_of_both_charts_keeps_the_same_workers_at_work() {
    let scene = world().scene_alone("upgrade");
    lose_a_field(&scene);
    scene.install("later", &[]);
    scene.apply(&scene.manifest(2, "  class: later\n"));
    scene.until_ready(2);
    let stream = scene.stream();
    let pods = scene.made("pods");

    let next = Scratch::make("charts").unwrap();
    let folder = next.path().display().to_string();
    for name in ["keyweir-crds", "keyweir"] {
        scene.world.helm(&["package", &chart(name), "--version", "0.2.0", "--destination", &folder]);
    }
    scene.world.helm(&["upgrade", "keyweir-crds", &format!("{folder}/keyweir-crds-0.2.0.tgz")]);
    let (package, namespace) = (format!("{folder}/keyweir-0.2.0.tgz"), scene.namespace());
    let upgrade = ["upgrade", "later", &package, "--namespace", namespace, "--reuse-values"];
    scene
        .world
        .helm(&[&upgrade[..], &["--set", "operator.upgradeLimit=2", "--wait", "--timeout", "3m"]].concat());
    assert!(
        explains(&scene, "streamconsumer.spec.source.kafka.provision"),
        "the definition is the newer one"
    );
    scene.until_ready(2);
    assert_eq!(scene.made("pods"), pods);
    scene.kubectl(&["scale", "stc/orders", "--replicas=3"]);
    scene.until_ready(3);
    scene.until_clean(stream.end());
    scene.world.helm(&["uninstall", "later", "--namespace", namespace, "--wait"]);
    scene.world.helm(&["upgrade", "keyweir-crds", &chart("keyweir-crds")]);
}

/// Makes the definition an older one: it lacks what came later.
fn lose_a_field(scene: &Scene) {
    let crd = ["customresourcedefinition", "streamconsumers.keyweir.io"];
    let patch = json!([{"op": "remove", "path":
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/source/properties/kafka/properties/provision"}]);
    let patch = patch.to_string();
    scene.world.cluster.kubectl(&["patch", crd[0], crd[1], "--type=json", "--patch", &patch]).unwrap();
    wait::until("the older definition", PATIENCE, || {
        !explains(scene, "streamconsumer.spec.source.kafka.provision")
    })
    .unwrap();
}

fn explains(scene: &Scene, field: &str) -> bool {
    scene.world.cluster.kubectl(&["explain", field]).is_ok()
}

/// What an operator of the version before has left: its workers stay as they are until somebody says so, at work, and can
/// be scaled; then they are replaced without a loss.
#[test]
fn workers_of_an_earlier_operator_work_on_until_their_turn() {
    let scene = world().scene("earlier");
    let manifest = scene.manifest(1, "  class: earlier\n  rollout: {onOperatorUpgrade: Manual}\n");
    scene.install("earlier", &[]);
    scene.apply(&manifest);
    scene.until_ready(1);
    let stream = scene.stream();
    let pods = scene.made("pods");
    scene.kubectl(&["scale", "deployment/earlier-keyweir", "--replicas=0"]);
    scene.kubectl(&["wait", "--for=delete", "pods", "--selector=app.kubernetes.io/name=keyweir-operator"]);
    let earlier = json!({"status": {"workerVersion": "0.0.9"}}).to_string();
    scene.kubectl(&["patch", "stc/orders", "--subresource=status", "--type=merge", "--patch", &earlier]);
    scene.install("earlier", &[]);
    let version = |object: &Value| object["status"]["workerVersion"].as_str().unwrap_or_default().to_owned();
    let object = scene.until(|object| condition(object, "Progressing").1 == "UpToDate" && ready(object));
    assert_eq!((version(&object).as_str(), scene.made("pods")), ("0.0.9", pods.clone()));
    scene.kubectl(&["scale", "stc/orders", "--replicas=2"]);
    scene.until_ready(2);
    assert!(pods.iter().all(|pod| scene.made("pods").contains(pod)), "scaled, not replaced");

    scene.kubectl(&["annotate", "stc/orders", "keyweir.io/restartedAt=now"]);
    scene.until(|object| version(object) == env!("CARGO_PKG_VERSION") && ready(object));
    scene.until_replaced(&pods, 2);
    scene.until_clean(stream.end());
    scene.world.helm(&["uninstall", "earlier", "--namespace", scene.namespace(), "--wait"]);
}
