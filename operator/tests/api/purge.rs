//! `deletionPolicy: Purge`: what happens between the deletion of an object and its end.

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    fake::FakeApi,
    objects::{CONSUMER, DEPLOYMENT, context},
    reconcile::{again, once, stored},
};

const JOB: &str = "/apis/batch/v1/namespaces/shop/jobs/orders-stc-purge";
const PURGE_MAP: &str = "/api/v1/namespaces/shop/configmaps/orders-stc-purge";
const POD: &str = "/api/v1/namespaces/shop/pods/orders-stc-0";

/// An object that is to be purged and was deleted then.
async fn deleted(at: &str) -> FakeApi {
    let api = stored(json!({"deletionPolicy": "Purge"}));
    once(&api).await.expect("the reconcile succeeds");
    assert_eq!(finalizers(&api), json!(["keyweir.io/purge"]));
    api.change(CONSUMER, |consumer| consumer["metadata"]["deletionTimestamp"] = at.into());
    api
}

fn finalizers(api: &FakeApi) -> Value {
    api.get(CONSUMER).expect("it is stored")["metadata"]["finalizers"].clone()
}

fn goes(api: &FakeApi, path: &str) -> bool {
    api.get(path).is_some_and(|object| object["metadata"]["deletionTimestamp"].is_string())
}

#[tokio::test]
async fn a_deleted_object_stays_until_its_workers_have_ended_and_its_job_has_purged() {
    let api = deleted(&Timestamp::now().to_string()).await;
    let labels = api.get(DEPLOYMENT).expect("it is stored")["spec"]["template"]["metadata"]["labels"].clone();
    api.put(POD, json!({"metadata": {"name": "orders-stc-0", "namespace": "shop", "labels": labels}}));
    let context = context(&api);
    again(&api, &context).await.expect("its workers are asked to end");
    assert!(goes(&api, DEPLOYMENT) && api.get(JOB).is_none());

    api.remove(DEPLOYMENT);
    api.remove(POD);
    again(&api, &context).await.expect("the Job is made");
    let pod = &api.get(JOB).expect("a Job")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"][0], "purge");
    assert_eq!(pod["volumes"][0]["configMap"]["name"], "orders-stc-purge");
    assert!(api.get(PURGE_MAP).is_some_and(|map| map["data"]["worker.json"].is_string()));
    assert_eq!(finalizers(&api), json!(["keyweir.io/purge"]));

    api.change(JOB, |job| job["status"]["succeeded"] = 1.into());
    again(&api, &context).await.expect("the object may go");
    assert_eq!(finalizers(&api), json!([]));
    assert!(goes(&api, JOB) && goes(&api, PURGE_MAP));
}

#[tokio::test]
async fn an_object_that_cant_be_purged_in_time_goes_all_the_same() {
    let api = deleted("2026-01-01T00:00:00Z").await;
    once(&api).await.expect("the object may go");
    assert_eq!(finalizers(&api), json!([]));
    assert!(api.get(JOB).is_none());
    assert!(api.calls().iter().any(|call| call.starts_with("POST /apis/events.k8s.io/")));
}

#[tokio::test]
async fn a_namespace_that_ends_holds_nobody_up() {
    let api = deleted(&Timestamp::now().to_string()).await;
    api.fail(Method::PATCH, PURGE_MAP, 403, "Forbidden");
    once(&api).await.expect("the object may go");
    assert_eq!(finalizers(&api), json!([]));
}

#[tokio::test]
async fn a_policy_that_changes_back_lets_the_object_go_as_it_is() {
    let api = stored(json!({"deletionPolicy": "Purge"}));
    once(&api).await.expect("the reconcile succeeds");
    api.change(CONSUMER, |consumer| consumer["spec"]["deletionPolicy"] = "Retain".into());
    once(&api).await.expect("the reconcile succeeds");
    assert_eq!(finalizers(&api), json!([]));
}

/// The calls of an operator that purges.
pub(crate) async fn purged() -> Vec<String> {
    let api = deleted(&Timestamp::now().to_string()).await;
    let context = context(&api);
    again(&api, &context).await.expect("the Job is made");
    api.change(JOB, |job| job["status"]["succeeded"] = 1.into());
    again(&api, &context).await.expect("the object may go");
    api.calls()
}
