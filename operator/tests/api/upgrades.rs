//! An operator of a newer version meets workers of an older one.

use std::sync::Arc;

use keyweir_operator::{context::Context, registry::Name};
use serde_json::{Value, json};

use crate::{
    fake::FakeApi,
    objects::{CONSUMER, DEPLOYMENT, complete, context},
    reconcile::{again, once, stored},
};

const OLD: &str = "keyweir-worker:old";

/// An object that is ready with workers of version 0.0.1, and the context of an operator that has looked at all of them.
async fn upgraded(rollout: Value) -> (FakeApi, Arc<Context>) {
    let api = stored(json!({"rollout": rollout}));
    for _ in 0..2 {
        once(&api).await.expect("the reconcile succeeds");
        api.change(DEPLOYMENT, complete);
    }
    api.change(CONSUMER, |consumer| consumer["status"]["workerVersion"] = "0.0.1".into());
    api.change(DEPLOYMENT, |deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = OLD.into();
    });
    let context = context(&api);
    context.first_pass.passed(name("orders"), 1);
    (api, context)
}

fn name(name: &str) -> Name {
    Name { namespace: "shop".to_owned(), name: name.to_owned() }
}

fn image(api: &FakeApi) -> Value {
    let deployment = api.get(DEPLOYMENT).expect("it is stored");
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

fn version(api: &FakeApi) -> Value {
    api.get(CONSUMER).expect("it is stored")["status"]["workerVersion"].clone()
}

#[tokio::test]
async fn workers_that_are_to_wait_are_scaled_and_not_replaced_until_somebody_asks() {
    let (api, context) = upgraded(json!({"onOperatorUpgrade": "Manual"})).await;
    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["generation"] = 2.into();
        consumer["spec"]["replicas"] = 3.into();
    });
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!((image(&api), version(&api)), (json!(OLD), json!("0.0.1")));
    assert_eq!(api.get(DEPLOYMENT).expect("it is stored")["spec"]["replicas"], 3);
    let status = api.get(CONSUMER).expect("it is stored")["status"].to_string();
    assert!(!status.contains("Refused"), "{status}");

    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["annotations"]["keyweir.io/restartedAt"] = "2026-02-01".into();
    });
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!(
        (image(&api), version(&api)),
        (json!("keyweir-worker:test"), json!(env!("CARGO_PKG_VERSION")))
    );
}

#[tokio::test]
async fn so_many_objects_are_replaced_at_a_time_and_one_that_is_not_ready_keeps_its_place() {
    let (api, context) = upgraded(json!({})).await;
    assert!(context.upgrades.enter(&name("first"), true));
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!((image(&api), version(&api)), (json!(OLD), json!("0.0.1")));

    context.upgrades.leave(&name("first"));
    again(&api, &context).await.expect("the reconcile succeeds");
    assert_eq!(image(&api), "keyweir-worker:test");
    api.change(DEPLOYMENT, |deployment| deployment["status"]["readyReplicas"] = 0.into());
    again(&api, &context).await.expect("the reconcile succeeds");
    assert!(!context.upgrades.enter(&name("third"), true), "orders is not ready yet");
    api.change(DEPLOYMENT, complete);
    for _ in 0..2 {
        again(&api, &context).await.expect("the reconcile succeeds");
    }
    assert!(context.upgrades.enter(&name("third"), true));
}

#[tokio::test]
async fn nobodys_workers_are_replaced_before_all_objects_were_looked_at() {
    let (api, _) = upgraded(json!({})).await;
    once(&api).await.expect("the reconcile succeeds");
    assert_eq!(image(&api), OLD);
}
