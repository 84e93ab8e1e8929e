//! Reconciles of a StreamConsumer, call by call.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::Method;
use keyweir_contract::meter::Readings;
use keyweir_operator::{
    context::Context,
    controllers::stream_consumer::reconcile,
    registry::{ask::Workers, gather::Said, rounds::look},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    fake::FakeApi,
    objects::{
        CONFIG_MAP, CONSUMER, DEPLOYMENT, STATEFUL_SET, complete, condition, consumer, context, watched,
    },
};

const NAMESPACE: &str = "/api/v1/namespaces/shop";
const STATUS: &str = "PATCH /apis/keyweir.io/v1alpha1/namespaces/shop/streamconsumers/orders/status";

/// Reconciles once what is stored; a call that never comes is a failure, not a hang.
pub(crate) async fn once(api: &FakeApi) -> Result<(), String> {
    again(api, &context(api)).await
}

/// The same by an operator that remembers what it did.
pub(crate) async fn again(api: &FakeApi, context: &Arc<Context>) -> Result<(), String> {
    let stored = api.get(CONSUMER).unwrap_or_else(|| consumer(json!({})));
    let reconciled = reconcile(watched(&stored), Arc::clone(context));
    let outcome = tokio::time::timeout(Duration::from_secs(5), reconciled).await.expect("no call is missing");
    outcome.map(|_| ()).map_err(|error| error.to_string())
}

pub(crate) fn stored(spec: Value) -> FakeApi {
    let api = FakeApi::default();
    api.put(CONSUMER, consumer(spec));
    api
}

pub(crate) fn pair(truth: &str, reason: &str) -> Option<(String, String)> {
    Some((truth.to_owned(), reason.to_owned()))
}

#[tokio::test]
async fn a_new_object_gets_all_it_needs_in_order() {
    let api = stored(json!({}));
    once(&api).await.expect("the reconcile succeeds");
    let calls = api.calls();
    assert_eq!(
        calls[..11],
        [
            format!("GET {CONSUMER}"),
            format!("GET {NAMESPACE}/pods"),
            format!("PATCH {NAMESPACE}/serviceaccounts/orders-stc"),
            format!("PATCH {CONFIG_MAP}"),
            format!("PATCH {NAMESPACE}/services/orders-stc"),
            "PATCH /apis/policy/v1/namespaces/shop/poddisruptionbudgets/orders-stc".to_owned(),
            format!("GET {NAMESPACE}/services"),
            "GET /apis/apps/v1/namespaces/shop/deployments".to_owned(),
            "GET /apis/apps/v1/namespaces/shop/statefulsets".to_owned(),
            format!("PATCH {DEPLOYMENT}"),
            STATUS.to_owned(),
        ]
    );
    assert!(calls[11..].iter().all(|call| call.starts_with("POST /apis/events.k8s.io/")), "{calls:?}");
    assert_eq!(condition(&api, "Accepted"), pair("True", "Accepted"));
    assert_eq!(condition(&api, "Ready"), pair("False", "RollingOut"));
}

/// Workers that route keys recognise each other by a Secret that is made once: the operator may not read or change it.
#[tokio::test]
async fn a_routed_object_gets_a_secret_once_and_its_pods_the_wire() {
    const SECRET: &str = "/api/v1/namespaces/shop/secrets/orders-stc-wire";
    let api = stored(json!({"routing": "Key"}));
    once(&api).await.expect("the reconcile succeeds");
    let calls = api.calls();
    let at = |call: &str| calls.iter().position(|known| known == call);
    let made = at(&format!("POST {NAMESPACE}/secrets"));
    assert!(made.is_some() && made < at(&format!("PATCH {DEPLOYMENT}")), "{calls:?}");
    let secret = api.get(SECRET).expect("it is made");
    assert_eq!(secret["immutable"], true);
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert_eq!(secret["stringData"]["secret"].as_str().map(str::len), Some(64));
    let pod = api.get(DEPLOYMENT).expect("it is made")["spec"]["template"]["spec"].clone();
    let worker = &pod["containers"][0];
    assert_eq!(worker["ports"][1], json!({"name": "wire", "containerPort": 7070, "protocol": "TCP"}));
    assert!(worker["env"].to_string().contains("status.podIP"));
    let volumes = pod["volumes"].as_array().cloned().unwrap_or_default();
    assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == "orders-stc-wire"), "{volumes:?}");

    // Another operator, with nothing in its memory, leaves it as it is.
    once(&api).await.expect("the second reconcile succeeds");
    assert_eq!(api.get(SECRET), Some(secret));
    let other = stored(json!({}));
    once(&other).await.expect("the reconcile succeeds");
    assert_eq!(other.get(SECRET), None);
}

/// U48: a worker sees its quota by itself; what it requests, which counts where there is none, it is told.
#[tokio::test]
async fn a_worker_is_told_the_request_by_which_profiles_count_without_a_limit() {
    for resources in [json!({}), json!({"requests": {"cpu": "1500m"}})] {
        let api = stored(json!({"pod": {"resources": resources}}));
        once(&api).await.expect("the reconcile succeeds");
        let pod = api.get(DEPLOYMENT).expect("it is made")["spec"]["template"]["spec"].clone();
        let worker = &pod["containers"][0];
        let env = worker["env"].as_array().cloned().unwrap_or_default();
        let told = env.iter().find(|variable| variable["name"] == "KEYWEIR_CPU_REQUEST").expect("it is told");
        // Of the container itself, in thousandths, as the worker's command line reads it.
        let wanted = json!({"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}});
        assert_eq!(told["valueFrom"], wanted);
    }
}

#[tokio::test]
async fn a_settled_object_costs_two_reads_and_nothing_else() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.change(DEPLOYMENT, complete);
    again(&api, &context).await.expect("the second reconcile succeeds");
    assert_eq!(condition(&api, "Ready"), pair("True", "Available"));
    assert_eq!(condition(&api, "HandlerHealthy"), pair("True", "Healthy"));
    let before = api.get(CONSUMER);
    api.calls();

    again(&api, &context).await.expect("the third reconcile succeeds");
    assert_eq!(api.calls(), [format!("GET {CONSUMER}"), format!("GET {DEPLOYMENT}")]);
    assert_eq!(api.get(CONSUMER), before);

    api.remove(DEPLOYMENT);
    again(&api, &context).await.expect("what is gone is made again");
    assert!(api.get(DEPLOYMENT).is_some());
}

#[tokio::test]
async fn what_the_workers_say_is_told() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.change(DEPLOYMENT, complete);
    let trouble = json!([{"about": "source", "reason": "TopicMissing", "text": "no topic orders"}]);
    let said = |troubles: Value, lag: Value| {
        json!([{"name": "shop/orders", "inFlight": 7, "fleet": {"members": 2, "shards": 1, "unowned": 0},
            "shards": [{"shard": "orders/0", "lag": lag}], "troubles": troubles}])
    };
    assert!(looked(&context, &said(trouble, Value::Null)).await);
    again(&api, &context).await.expect("the second reconcile succeeds");
    let status = api.get(CONSUMER).expect("it is stored")["status"].clone();
    assert_eq!(condition(&api, "SourceReachable"), pair("False", "TopicMissing"));
    assert_eq!(
        (&status["members"], &status["inFlight"], &status["lag"]),
        (&json!(2), &json!(7), &Value::Null)
    );
    assert_eq!(status["lastError"]["reason"], "TopicMissing");

    assert!(looked(&context, &said(json!([]), json!(12_345))).await);
    assert!(!looked(&context, &said(json!([]), json!(12_399))).await);
    again(&api, &context).await.expect("the third reconcile succeeds");
    let status = api.get(CONSUMER).expect("it is stored")["status"].clone();
    assert_eq!(condition(&api, "SourceReachable"), pair("True", "Connected"));
    assert_eq!(status["lag"]["records"], 12_000);
    assert_eq!(status["lastError"]["reason"], "TopicMissing");
}

/// U07.
#[tokio::test]
async fn lost_history_is_a_condition_where_every_change_was_asked_for() {
    let etcd = |delivery| json!({"etcd": {"endpoints": ["http://etcd:2379"], "paths": ["/a"], "delivery": delivery}});
    let spec = |delivery| json!({"source": etcd(delivery), "onExhausted": {"action": "Skip"}});
    let said = |lost: bool| {
        let shards = json!([{"shard": "/a/0", "historyLost": lost}, {"shard": "/a/1", "historyLost": false}]);
        json!([{"name": "shop/orders", "inFlight": 0, "shards": shards}])
    };
    let api = stored(spec("Every"));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    assert!(looked(&context, &said(false)).await);
    again(&api, &context).await.expect("the second reconcile succeeds");
    assert_eq!(condition(&api, "HistoryLost"), pair("False", "Complete"));
    assert!(looked(&context, &said(true)).await);
    again(&api, &context).await.expect("the third reconcile succeeds");
    assert_eq!(condition(&api, "HistoryLost"), pair("True", "Compacted"));

    api.change(CONSUMER, |stored| stored["spec"] = consumer(spec("Latest"))["spec"].clone());
    again(&api, &context).await.expect("the fourth reconcile succeeds");
    let conditions = api.get(CONSUMER).expect("it is stored")["status"]["conditions"].to_string();
    assert!(!conditions.contains("HistoryLost"), "to Latest nothing is lost: {conditions}");
}

#[tokio::test]
async fn builtin_scaling_follows_the_lag_through_the_scale_subresource() {
    let builtin = json!({"mode": "Builtin", "builtin": {"recordsPerReplica": 100, "maxReplicas": 5}});
    let api = stored(json!({"scaling": builtin}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.calls();
    let said = |lag: Value| {
        json!([{"name": "shop/orders", "inFlight": 0, "fleet": {"members": 2, "shards": 1, "unowned": 0},
            "shards": [{"shard": "orders/0", "lag": lag}]}])
    };
    looked(&context, &said(Value::Null)).await;
    assert!(api.calls().is_empty(), "a lag that is not known changes nothing");

    // More than there are shards would have nothing to do: of the wanted 5, the one shard allows one, which is fewer.
    looked(&context, &said(json!(450))).await;
    again(&api, &context).await.expect("the second reconcile succeeds");
    let scaling = api.get(CONSUMER).expect("it is stored")["status"]["scaling"].clone();
    assert_eq!((&scaling["desiredReplicas"], &scaling["reason"]), (&json!(2), &json!("ScaleDownDelayed")));

    let many = json!([{"name": "shop/orders", "inFlight": 0, "fleet": {"members": 2, "shards": 2, "unowned": 0},
        "shards": [{"shard": "orders/0", "lag": 450}, {"shard": "orders/1", "lag": 0}]}]);
    looked(&context, &many).await;
    assert!(!api.calls().contains(&format!("PATCH {CONSUMER}/scale")));
    let eight: Vec<_> = (0..8).map(|n| json!({"shard": format!("orders/{n}"), "lag": 50})).collect();
    let many = json!([{"name": "shop/orders", "inFlight": 0, "shards": eight,
        "fleet": {"members": 2, "shards": 8, "unowned": 0}}]);
    looked(&context, &many).await;
    assert_eq!(api.calls().first(), Some(&format!("PATCH {CONSUMER}/scale")));
    assert_eq!(api.get(CONSUMER).expect("it is stored")["spec"]["replicas"], 4);
}

/// The pods of the object, and how busy each is.
fn pod(number: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("orders-stc-{number}"), "namespace": "shop", "labels": {
            "app.kubernetes.io/instance": "orders", "keyweir.io/kind": "StreamConsumer",
        }},
        "status": {"podIP": format!("10.0.0.{number}")},
    })
}

#[tokio::test]
async fn the_idlest_pod_is_marked_just_before_there_are_to_be_fewer() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    for number in [1, 2] {
        api.put(&format!("{NAMESPACE}/pods/orders-stc-{number}"), pod(number));
    }
    api.change(DEPLOYMENT, complete);
    // The only worker that answers is the busy one, at 10.0.0.1.
    looked(&context, &json!([{"name": "shop/orders", "inFlight": 7}])).await;
    again(&api, &context).await.expect("the second reconcile succeeds");
    api.calls();
    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["generation"] = 2.into();
        consumer["spec"]["replicas"] = 1.into();
    });
    again(&api, &context).await.expect("the third reconcile succeeds");
    let calls = api.calls();
    let place = |call: String| calls.iter().position(|known| *known == call);
    let marked = place(format!("PATCH {NAMESPACE}/pods/orders-stc-2")).expect("the idle pod is marked");
    assert!(marked < place(format!("PATCH {DEPLOYMENT}")).expect("the number is lowered"), "{calls:?}");
    assert_eq!(place(format!("PATCH {NAMESPACE}/pods/orders-stc-1")), None);
    again(&api, &context).await.expect("the fourth reconcile succeeds");
    assert!(!api.calls().iter().any(|call| call.starts_with("PATCH") && call.contains("/pods/")));
}

/// The calls of an operator that settles an object and scales it.
pub(crate) async fn scaled() -> Vec<String> {
    let api = stored(json!({"scaling": {"mode": "Builtin", "builtin": {}}}));
    let context = context(&api);
    for _ in 0..2 {
        again(&api, &context).await.expect("the reconcile succeeds");
    }
    let shards: Vec<_> = (0..8).map(|n| json!({"shard": format!("orders/{n}"), "lag": 5000})).collect();
    let said = json!([{"name": "shop/orders", "inFlight": 0, "shards": shards,
        "fleet": {"members": 2, "shards": 8, "unowned": 0}}]);
    looked(&context, &said).await;
    // Two pods where one is to be: the idler one is marked.
    for number in [1, 2] {
        api.put(&format!("{NAMESPACE}/pods/orders-stc-{number}"), pod(number));
    }
    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["generation"] = 2.into();
        consumer["spec"]["replicas"] = 1.into();
    });
    again(&api, &context).await.expect("the reconcile succeeds");
    let mut calls = api.calls();
    // The single worker of an object without coordination is looked at in the same way.
    let api = stored(json!({"coordination": {"type": "None"}, "replicas": 1}));
    let context = self::context(&api);
    for _ in 0..2 {
        again(&api, &context).await.expect("the reconcile succeeds");
    }
    calls.append(&mut api.calls());
    calls
}

/// Asks the workers of all objects, who say that.
pub(crate) async fn looked(context: &Context, said: &Value) -> bool {
    let subject = context.registry.due(Instant::now(), |_, _| Duration::ZERO).remove(0);
    look(context, &Saying(said.clone()), &subject).await
}

struct Saying(Value);

impl Workers for Saying {
    fn ask<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Vec<Said>> {
        assert_eq!(host, "orders-stc.shop.svc");
        let objects = serde_json::from_value(self.0.clone()).expect("an answer");
        Box::pin(std::future::ready(vec![Said { address: [10, 0, 0, 1].into(), objects }]))
    }

    fn readings<'a>(&'a self, _host: &'a str, _after: u64) -> BoxFuture<'a, Option<Readings>> {
        Box::pin(std::future::ready(None))
    }
}

#[tokio::test]
async fn a_conflict_is_an_error_and_leaves_the_status_alone() {
    let api = stored(json!({}));
    api.fail(Method::PATCH, DEPLOYMENT, 409, "Conflict");
    assert_eq!(once(&api).await, Err("failed to apply".to_owned()));
    assert!(!api.calls().contains(&STATUS.to_owned()));
    once(&api).await.expect("the next reconcile succeeds");
}

#[tokio::test]
async fn an_object_that_is_gone_or_going_is_left_alone() {
    let api = FakeApi::default();
    once(&api).await.expect("nothing is to be done");
    assert_eq!(api.calls(), [format!("GET {CONSUMER}")]);

    let mut going = consumer(json!({}));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    api.put(CONSUMER, going);
    once(&api).await.expect("nothing is to be done");
    assert_eq!(api.calls(), [format!("GET {CONSUMER}")]);
}

#[tokio::test]
async fn an_object_that_is_deleted_meanwhile_is_no_lasting_trouble() {
    let api = stored(json!({}));
    api.fail(Method::PATCH, &format!("{CONSUMER}/status"), 404, "NotFound");
    assert!(once(&api).await.is_err());
    api.remove(CONSUMER);
    once(&api).await.expect("nothing is left to be done");
}

#[tokio::test]
async fn an_object_of_another_class_is_left_alone() {
    let api = stored(json!({"class": "blue"}));
    once(&api).await.expect("nothing is to be done");
    assert_eq!(api.calls(), [format!("GET {CONSUMER}")]);
}

#[tokio::test]
async fn an_object_that_cant_be_read_is_told_so_and_nothing_is_built() {
    let api = stored(json!({"source": {"carrierPigeon": {}}, "handler": 7}));
    once(&api).await.expect("a bad object is no failure");
    assert_eq!(api.calls(), [format!("GET {CONSUMER}"), STATUS.to_owned()]);
    assert_eq!(condition(&api, "Accepted"), pair("False", "Unsupported"));
    assert_eq!(condition(&api, "Stalled"), pair("True", "Unsupported"));
    assert_eq!(condition(&api, "Ready"), pair("False", "Unsupported"));
}

#[tokio::test]
async fn pods_that_the_api_server_refuses_become_a_condition() {
    let api = stored(json!({}));
    api.fail(Method::PATCH, DEPLOYMENT, 422, "Invalid");
    once(&api).await.expect("a refusal is no failure");
    assert_eq!(condition(&api, "Accepted"), pair("True", "Accepted"));
    assert_eq!(condition(&api, "Degraded"), pair("True", "PodOverridesRejected"));
    assert_eq!(condition(&api, "Stalled"), pair("True", "PodOverridesRejected"));
}

#[tokio::test]
async fn a_mistake_in_the_pods_is_named() {
    let api = stored(json!({"pod": {"tolerations": [{"tolerationSecond": 1}]}}));
    once(&api).await.expect("a mistake is no failure");
    assert_eq!(condition(&api, "Degraded"), pair("True", "PodOverridesRejected"));
    let status = api.get(CONSUMER).expect("it is stored")["status"].to_string();
    assert!(status.contains("a Toleration has no field tolerationSecond"), "{status}");
}

#[tokio::test]
async fn a_handler_and_its_worker_never_share_a_port() {
    let api = stored(json!({"handler": {"container": {"image": "orders:1"}}}));
    once(&api).await.expect("the reconcile succeeds");
    let pod = api.get(DEPLOYMENT).expect("it is stored")["spec"]["template"]["spec"].clone();
    let port = |list: &str| pod[list][0]["ports"][0]["containerPort"].clone();
    assert_ne!(port("containers"), port("initContainers"));
    let arguments = pod["containers"][0]["args"].to_string();
    assert!(arguments.contains(&format!("0.0.0.0:{}", port("containers"))), "{arguments}");

    let taken = port("containers");
    let api = stored(json!({"handler": {"container": {"image": "orders:1", "port": taken}}}));
    once(&api).await.expect("a mistake is no failure");
    assert_eq!(condition(&api, "Degraded"), pair("True", "PodOverridesRejected"));
}

#[tokio::test]
async fn a_workload_of_the_other_sort_ends_before_the_new_one_starts() {
    let api = stored(json!({"coordination": {"type": "None"}, "replicas": 1}));
    once(&api).await.expect("the single worker is made");
    assert!(api.get(STATEFUL_SET).is_some());

    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["generation"] = 2.into();
        consumer["spec"]["coordination"] =
            json!({"type": "Etcd", "etcd": {"endpoints": ["http://etcd:2379"]}});
    });
    for _ in 0..2 {
        once(&api).await.expect("the predecessor is asked to end");
        assert!(api.get(STATEFUL_SET).is_some_and(|set| set["metadata"]["deletionTimestamp"].is_string()));
        assert!(api.get(DEPLOYMENT).is_none());
        assert_eq!(condition(&api, "Ready").map(|(truth, _)| truth), Some("False".to_owned()));
    }
    api.remove(STATEFUL_SET);
    once(&api).await.expect("the Deployment is made");
    assert!(api.get(DEPLOYMENT).is_some());
}

#[tokio::test]
async fn a_live_change_reaches_the_config_map_only() {
    let api = stored(json!({}));
    once(&api).await.expect("the first reconcile succeeds");
    let (deployment, config) = (api.get(DEPLOYMENT), api.get(CONFIG_MAP));
    let change = |execution: Value| {
        api.change(CONSUMER, |consumer| {
            consumer["metadata"]["generation"] = 2.into();
            consumer["spec"]["execution"] = execution.clone();
        });
    };
    change(json!({"concurrency": 7}));
    once(&api).await.expect("the live change is applied");
    assert_eq!(api.get(DEPLOYMENT), deployment);
    assert_ne!(api.get(CONFIG_MAP), config);

    api.change(CONSUMER, |consumer| consumer["spec"]["ordering"] = "Partition".into());
    once(&api).await.expect("the fixed change is applied");
    assert_ne!(api.get(DEPLOYMENT), deployment);
}

#[tokio::test]
async fn a_change_by_somebody_else_is_taken_back() {
    let api = stored(json!({}));
    once(&api).await.expect("the first reconcile succeeds");
    let config = api.get(CONFIG_MAP).expect("it is stored");
    api.change(CONFIG_MAP, |map| map["data"]["worker.json"] = "{}".into());
    once(&api).await.expect("the drift is repaired");
    assert_eq!(api.get(CONFIG_MAP).expect("it is stored")["data"], config["data"]);
}

#[tokio::test]
async fn a_crashing_handler_is_told_by_name() {
    let api = stored(json!({"handler": {"container": {"image": "orders:1"}}}));
    once(&api).await.expect("the first reconcile succeeds");
    let labels = api.get(DEPLOYMENT).expect("it is stored")["spec"]["template"]["metadata"]["labels"].clone();
    api.put(
        "/api/v1/namespaces/shop/pods/orders-stc-0",
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "orders-stc-0", "namespace": "shop", "labels": labels},
            "status": {"initContainerStatuses": [{
                "name": "handler", "image": "orders:1", "imageID": "", "ready": false, "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            }]},
        }),
    );
    once(&api).await.expect("the second reconcile succeeds");
    assert_eq!(condition(&api, "HandlerHealthy"), pair("False", "CrashLoop"));
    assert_eq!(condition(&api, "Ready"), pair("False", "CrashLoop"));
}
