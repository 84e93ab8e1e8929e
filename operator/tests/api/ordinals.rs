//! Static placement: a StatefulSet whose pods are told how many they are.

use keyweir_contract::WorkerConfig;
use serde_json::{Value, json};

use crate::fake::FakeApi;
use crate::objects::{CONFIG_MAP, CONSUMER, DEPLOYMENT, STATEFUL_SET, condition};
use crate::reconcile::{once, pair, stored};

const PODS: &str = "/api/v1/namespaces/shop/pods";

fn by_ordinal(replicas: u32) -> FakeApi {
    let etcd = json!({"endpoints": ["http://etcd:2379"]});
    let coordination = json!({"type": "Etcd", "placement": "Static", "etcd": etcd});
    stored(json!({"coordination": coordination, "replicas": replicas}))
}

fn told(api: &FakeApi) -> WorkerConfig {
    let map = api.get(CONFIG_MAP).expect("it is made");
    serde_json::from_str(map["data"]["worker.json"].as_str().unwrap_or_default()).expect("a configuration")
}

fn change(api: &FakeApi, generation: u32, what: impl FnOnce(&mut Value)) {
    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["generation"] = generation.into();
        what(&mut consumer["spec"]);
    });
}

/// Stores the pods as if the StatefulSet's controller had made them.
fn run_pods(api: &FakeApi, count: u32) {
    let labels = api.get(STATEFUL_SET).expect("it is made")["spec"]["template"]["metadata"]["labels"].clone();
    for ordinal in 0..count {
        let name = format!("orders-stc-{ordinal}");
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}});
        api.put(&format!("{PODS}/{name}"), pod);
    }
}

/// U36: pods with fixed names, which start and end without waiting for each other.
#[tokio::test]
async fn static_placement_makes_a_stateful_set_of_as_many_as_are_wanted() {
    let api = by_ordinal(3);
    once(&api).await.expect("the reconcile succeeds");
    assert_eq!(api.get(DEPLOYMENT), None);
    let set = api.get(STATEFUL_SET).expect("it is made");
    assert_eq!(
        (&set["spec"]["replicas"], &set["spec"]["podManagementPolicy"]),
        (&json!(3), &json!("Parallel"))
    );
    assert_eq!(set["spec"]["serviceName"], "orders-stc");
    // The worker reads its ordinal from the pod's name, and the pod's uid proves that the worker before it is dead.
    let env = set["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    assert!(env.contains("POD_NAME") && env.contains("POD_UID"), "{env}");
    let config = told(&api);
    assert!(config.fixed.coordination.is_static());
    assert_eq!(config.live.replicas, Some(3));
    assert_eq!(condition(&api, "Accepted"), pair("True", "Accepted"));
}

/// U36: `kubectl scale` replaces no pod; who runs is told before there are more or fewer.
#[tokio::test]
async fn pods_with_ordinals_are_told_their_number_before_it_changes() {
    let api = by_ordinal(3);
    once(&api).await.expect("the first reconcile succeeds");
    run_pods(&api, 3);
    let template = api.get(STATEFUL_SET).expect("it is made")["spec"]["template"].clone();
    api.calls();
    change(&api, 2, |spec| spec["replicas"] = 2.into());
    once(&api).await.expect("the second reconcile succeeds");
    let calls = api.calls();
    let place = |call: &str| {
        calls.iter().position(|known| known == call).unwrap_or_else(|| {
            unreachable!("{call} is not among {calls:?}");
        })
    };
    let told_at = place(&format!("PATCH {CONFIG_MAP}"));
    let marked = (0..3).map(|ordinal| place(&format!("PATCH {PODS}/orders-stc-{ordinal}")));
    let scaled = place(&format!("PATCH {STATEFUL_SET}"));
    assert!(marked.into_iter().all(|at| told_at < at && at < scaled), "{calls:?}");
    let set = api.get(STATEFUL_SET).expect("it stands");
    assert_eq!((&set["spec"]["replicas"], &set["spec"]["template"]), (&json!(2), &template));
    assert_eq!(told(&api).live.replicas, Some(2));
    let pod = api.get(&format!("{PODS}/orders-stc-0")).expect("it runs");
    assert_eq!(pod["metadata"]["annotations"]["keyweir.io/replicas"], "2");
}

/// How a StatefulSet starts its pods can't be changed: one of a single worker ends before the one with ordinals comes.
#[tokio::test]
async fn a_set_of_one_gives_way_to_a_set_of_ordinals() {
    let api = stored(json!({"coordination": {"type": "None"}, "replicas": 1}));
    once(&api).await.expect("the single worker is made");
    let etcd = json!({"endpoints": ["http://etcd:2379"]});
    change(&api, 2, |spec| {
        spec["coordination"] = json!({"type": "Etcd", "placement": "Static", "etcd": etcd});
        spec["replicas"] = 2.into();
    });
    once(&api).await.expect("the predecessor is asked to end");
    let set = api.get(STATEFUL_SET).expect("it still has its pod");
    assert!(set["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(set["spec"]["replicas"], 1);
    api.remove(STATEFUL_SET);
    once(&api).await.expect("the new one is made");
    assert_eq!(api.get(STATEFUL_SET).expect("it is made")["spec"]["replicas"], 2);
}
