//! Objects without workers: who measures them, who wakes them.

use std::{sync::Arc, time::Duration};

use keyweir_contract::meter::{Backlog, Measured, MeterTrouble, Provisioning, Reading, Readings};
use keyweir_operator::{
    context::Context,
    meters::{keep, listen::hear},
    metrics::Metrics,
    registry::Name,
    settings::{Scope, Settings},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    fake::FakeApi,
    objects::{CONFIG_MAP, CONSUMER, condition, context, settings},
    reconcile::{again, pair, stored},
};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const LAG_SERVICE: &str = "/api/v1/namespaces/shop/services/orders-stc-lag";

fn orders() -> Name {
    Name { namespace: "shop".to_owned(), name: "orders".to_owned() }
}

/// Changes the spec as a user does.
fn change(api: &FakeApi, field: &str, value: Value) {
    api.change(CONSUMER, |consumer| {
        let generation = consumer["metadata"]["generation"].as_i64().unwrap_or_default();
        consumer["metadata"]["generation"] = (generation + 1).into();
        consumer["spec"][field] = value;
    });
}

/// What the meter of the object says of it.
async fn said(context: &Context, measured: Measured) {
    heard(context, measured, None).await;
}

/// The same, with what became of the topics that were to be made.
async fn heard(context: &Context, measured: Measured, provisioned: Option<Provisioning>) {
    let reading = Reading { name: "shop/orders".to_owned(), uid: "uid-1".to_owned(), measured, provisioned };
    let (changed, _changes) = mpsc::channel(4);
    hear(context, &Readings { version: 1, objects: vec![reading] }, &changed).await;
}

fn behind(records: u64) -> Measured {
    Measured::Backlog(Backlog { records, shards: 8, started: true })
}

/// The meter's path, by the calls that wrote it.
fn written(calls: &[String]) -> Option<String> {
    let begins = format!("PATCH {DEPLOYMENTS}/keyweir-meter-");
    let call = calls.iter().find(|call| call.starts_with(&begins))?;
    call.strip_prefix("PATCH ").map(str::to_owned)
}

#[tokio::test]
async fn an_object_that_may_fall_asleep_has_a_meter_with_the_sources_secrets_and_no_others() {
    let api = stored(json!({
        "source": {"kafka": {
            "bootstrapServers": ["kafka:9092"], "topics": ["orders"], "group": "orders",
            "sasl": {"mechanism": "PLAIN", "username": "u", "passwordSecretKeyRef": {"name": "kafka", "key": "password"}},
        }},
        "coordination": {"type": "Etcd", "etcd": {"endpoints": ["http://etcd:2379"],
            "auth": {"username": "u", "passwordSecretKeyRef": {"name": "etcd", "key": "password"}}}},
        "scaling": {"mode": "Builtin"},
    }));
    let context = context(&api);
    again(&api, &context).await.expect("the reconcile succeeds");
    api.calls();
    keep::write(&context, Instant::now()).await;
    assert!(api.calls().is_empty(), "not before all objects are known");

    context.first_pass.passed(orders(), 1);
    keep::write(&context, Instant::now()).await;
    let path = written(&api.calls()).expect("a meter");
    let meter = api.get(&path).expect("it is stored");
    assert_eq!(meter["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    let pod = &meter["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"][0], "meter");
    let objects = &pod["volumes"][0]["projected"]["sources"][0]["configMap"];
    assert_eq!(
        (&objects["name"], &objects["items"][0]["path"]),
        (&json!("orders-stc"), &json!("orders.json"))
    );
    let secrets: Vec<_> =
        pod["volumes"].as_array().into_iter().flatten().filter_map(|volume| volume.get("secret")).collect();
    assert_eq!(secrets.len(), 1, "{pod}");
    assert_eq!((&secrets[0]["secretName"], &secrets[0]["optional"]), (&json!("kafka"), &json!(true)));
    assert_eq!(pod["automountServiceAccountToken"], false);

    change(&api, "scaling", json!({"mode": "Fixed"}));
    again(&api, &context).await.expect("the reconcile succeeds");
    keep::write(&context, Instant::now() + Duration::from_secs(10)).await;
    assert!(api.get(&path).is_some_and(|meter| meter["metadata"]["deletionTimestamp"].is_string()));
}

/// U141: the decision follows the meter's word at once, and silence is no zero.
#[tokio::test]
async fn an_object_that_sleeps_wakes_with_its_first_record_and_tells_what_its_source_says() {
    let api = stored(json!({"replicas": 0, "scaling": {"mode": "Builtin"}}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    let missing = MeterTrouble { reason: "TopicMissing".to_owned(), text: "no topic orders".to_owned() };
    said(&context, Measured::Trouble(missing)).await;
    again(&api, &context).await.expect("the second reconcile succeeds");
    assert_eq!(condition(&api, "SourceReachable"), pair("False", "TopicMissing"));
    let status = api.get(CONSUMER).expect("it is stored")["status"].clone();
    assert_eq!((&status["lag"], &status["scaling"]["reason"]), (&Value::Null, &json!("LagUnknown")));

    said(&context, behind(0)).await;
    again(&api, &context).await.expect("the third reconcile succeeds");
    assert_eq!(condition(&api, "SourceReachable"), pair("True", "Connected"));
    let status = api.get(CONSUMER).expect("it is stored")["status"].clone();
    assert_eq!((&status["lag"]["records"], &status["members"]), (&json!(0), &json!(0)));
    assert_eq!(api.get(CONSUMER).expect("it is stored")["spec"]["replicas"], 0);

    said(&context, behind(1)).await;
    assert_eq!(api.get(CONSUMER).expect("it is stored")["spec"]["replicas"], 1);
}

#[tokio::test]
async fn an_object_that_was_asked_to_stand_still_or_to_be_none_does_not_wake() {
    for (state, builtin) in [("Paused", json!({})), ("Running", json!({"minReplicas": 1}))] {
        let scaling = json!({"mode": "Builtin", "builtin": builtin});
        let api = stored(json!({"replicas": 0, "state": state, "scaling": scaling}));
        let context = context(&api);
        again(&api, &context).await.expect("the reconcile succeeds");
        said(&context, behind(1)).await;
        assert_eq!(api.get(CONSUMER).expect("it is stored")["spec"]["replicas"], 0, "{state}");
    }
}

/// U73: an object that has its topics made has a meter, also with workers; what became of them is a condition.
#[tokio::test]
async fn an_object_that_has_its_topics_made_has_a_meter_and_a_condition_with_what_came_of_it() {
    let kafka = json!({"bootstrapServers": ["kafka:9092"], "topics": ["orders"], "group": "orders"});
    let mut provisioned = kafka.clone();
    provisioned["provision"] = json!({"partitions": 8});
    let api = stored(json!({"source": {"kafka": provisioned}}));
    let context = context(&api);
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!(condition(&api, "Provisioned"), pair("Unknown", "NoAnswer"));
    context.first_pass.passed(orders(), 1);
    keep::write(&context, Instant::now()).await;
    assert!(written(&api.calls()).is_some(), "a meter");
    let config = api.get(CONFIG_MAP).expect("it is stored")["data"].clone();
    let config = config.as_object().and_then(|files| files.values().next()).and_then(Value::as_str);
    let wanted = keyweir_contract::read::read(config.expect("a file")).expect("it reads").provision_hash();

    let said = |wanted: &str, reason: &str, text: &str| {
        Some(Provisioning { wanted: wanted.to_owned(), reason: reason.to_owned(), text: text.to_owned() })
    };
    let text = "topic orders has 4 partitions, 8 are wanted: it is left as it is";
    heard(&context, behind(0), said(&wanted, Provisioning::MISMATCH, text)).await;
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!(condition(&api, "Provisioned"), pair("False", "Mismatch"));
    let conditions = api.get(CONSUMER).expect("it is stored")["status"]["conditions"].to_string();
    assert!(conditions.contains(text), "{conditions}");
    assert!(
        api.get(CONSUMER).expect("it is stored")["status"]["members"].is_null(),
        "workers speak for themselves"
    );

    heard(&context, behind(0), said(&wanted, Provisioning::AS_WANTED, "")).await;
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!(condition(&api, "Provisioned"), pair("True", "AsWanted"));
    heard(&context, behind(0), said("of an earlier spec", Provisioning::MISMATCH, "")).await;
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!(condition(&api, "Provisioned"), pair("Unknown", "NoAnswer"));
    change(&api, "source", json!({"kafka": kafka}));
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!(condition(&api, "Provisioned"), None);
}

#[tokio::test]
async fn an_autoscaler_finds_the_lag_under_the_objects_own_name() {
    let api = stored(json!({"replicas": 0, "scaling": {"mode": "External"}}));
    let context = context(&api);
    again(&api, &context).await.expect("the reconcile succeeds");
    let service = api.get(LAG_SERVICE).expect("a service");
    assert_eq!(service["spec"]["selector"]["keyweir.io/kind"], "Meter");
    context.first_pass.passed(orders(), 1);
    keep::write(&context, Instant::now()).await;
    let meter = api.get(&written(&api.calls()).expect("a meter")).expect("it is stored");
    let labels = &meter["spec"]["template"]["metadata"]["labels"];
    for (name, value) in service["spec"]["selector"].as_object().expect("a selector") {
        assert_eq!(&labels[name], value, "{name}");
    }

    change(&api, "scaling", json!({"mode": "Fixed"}));
    again(&api, &context).await.expect("the reconcile succeeds");
    assert!(api.get(LAG_SERVICE).is_some_and(|gone| gone["metadata"]["deletionTimestamp"].is_string()));
}

#[tokio::test]
async fn meters_that_an_earlier_operator_left_are_removed_and_those_of_another_class_are_not() {
    let api = stored(json!({"replicas": 0}));
    let here = Settings { scope: Scope::Namespaces(vec!["shop".to_owned()]), ..settings() };
    let context = Arc::new(Context::new(api.client(), here, Metrics::default()));
    again(&api, &context).await.expect("the reconcile succeeds");
    context.first_pass.passed(orders(), 1);
    keep::write(&context, Instant::now()).await;
    let ours = written(&api.calls()).expect("a meter");
    for (name, class) in [("old", ""), ("blue", "blue")] {
        let mut meter = api.get(&ours).expect("it is stored");
        meter["metadata"]["name"] = name.into();
        meter["metadata"]["labels"]["keyweir.io/class"] = class.into();
        api.put(&format!("{DEPLOYMENTS}/{name}"), meter);
    }
    assert!(keep::sweep(&context).await);
    let goes =
        |path: &str| api.get(path).is_some_and(|meter| meter["metadata"]["deletionTimestamp"].is_string());
    assert!(goes(&format!("{DEPLOYMENTS}/old")));
    assert!(!goes(&format!("{DEPLOYMENTS}/blue")) && !goes(&ours));
}

/// The calls of an operator that makes a meter, wakes an object by it, and removes it.
pub(crate) async fn metered() -> Vec<String> {
    let api = stored(json!({"replicas": 0, "scaling": {"mode": "External"}}));
    let context = context(&api);
    again(&api, &context).await.expect("the reconcile succeeds");
    context.first_pass.passed(orders(), 1);
    keep::write(&context, Instant::now()).await;
    change(&api, "scaling", json!({"mode": "Fixed"}));
    change(&api, "replicas", 1.into());
    again(&api, &context).await.expect("the reconcile succeeds");
    keep::write(&context, Instant::now() + Duration::from_secs(10)).await;
    api.calls()
}
