//! What the status says by what the workers say, and which events follow.

use serde_json::{Value, json};

use crate::{
    fake::FakeApi,
    objects::{CONSUMER, DEPLOYMENT, complete, condition, context},
    reconcile::{again, looked, pair, stored},
};

/// What the one worker says that owns the one shard there is.
fn said(more: Value) -> Value {
    let mut object = json!({"name": "shop/orders", "inFlight": 7, "keptAside": 0,
        "fleet": {"members": 2, "shards": 1, "unowned": 0},
        "shards": [{"shard": "orders/0", "lag": 0, "lagSeconds": 0}]});
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        object[name] = value;
    }
    json!([object])
}

fn status(api: &FakeApi) -> Value {
    api.get(CONSUMER).expect("it is stored")["status"].clone()
}

fn reasons(api: &FakeApi) -> Vec<String> {
    api.events().into_iter().map(|(reason, _)| reason).collect()
}

/// U164.
#[tokio::test]
async fn parked_records_and_the_age_of_the_oldest_one_stand_in_the_status() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.change(DEPLOYMENT, complete);
    assert!(looked(&context, &said(json!({}))).await);
    again(&api, &context).await.expect("the second reconcile succeeds");
    assert_eq!((&status(&api)["parked"], &status(&api)["lag"]["seconds"]), (&json!(0), &json!(0)));
    assert_eq!(condition(&api, "Lagging"), pair("False", "BelowThreshold"));

    let shards = json!([{"shard": "orders/0", "lag": 12_345, "lagSeconds": 456}]);
    let failure = json!({"reason": "HandlerTimeout", "text": "no answer within 5m", "secondsAgo": 1});
    let late = said(json!({"shards": shards, "keptAside": 2, "lastFailure": failure}));
    assert!(looked(&context, &late).await);
    again(&api, &context).await.expect("the third reconcile succeeds");
    let now = status(&api);
    assert_eq!(
        (&now["parked"], &now["lag"]["records"], &now["lag"]["seconds"]),
        (&json!(2), &json!(12_000), &json!(400))
    );
    assert_eq!(now["lastError"]["reason"], "HandlerTimeout");
    assert_eq!(condition(&api, "Lagging"), pair("True", "AboveThreshold"));
    assert_eq!(condition(&api, "Ready"), pair("True", "Available"), "to be late is not to be broken");
    let parked = api.events().into_iter().find(|(reason, _)| reason == "RecordParked");
    assert_eq!(
        parked.map(|(_, note)| note).as_deref(),
        Some("2 more records are kept aside, 2 in all: keyweir parked list")
    );

    let shards = json!([{"shard": "orders/0", "lag": 12_345}]);
    looked(&context, &said(json!({"shards": shards}))).await;
    again(&api, &context).await.expect("the fourth reconcile succeeds");
    assert_eq!(status(&api)["lag"].get("seconds"), None, "what is not known is absent");
    assert_eq!(condition(&api, "Lagging"), pair("Unknown", "LagUnknown"));
}

#[tokio::test]
async fn numbers_that_change_all_the_time_do_not_bring_an_object_to_its_reconcile_each_time() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    let at = |lag| said(json!({"shards": [{"shard": "orders/0", "lag": lag, "lagSeconds": lag}]}));
    assert!(looked(&context, &at(1)).await);
    for lag in 2..50 {
        assert!(!looked(&context, &at(lag)).await, "{lag}");
    }
    assert!(
        looked(&context, &said(json!({"shards": [{"shard": "orders/0"}]}))).await,
        "an unknown lag is told at once"
    );
}

#[tokio::test]
async fn shards_on_their_way_are_told_until_they_have_an_owner() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.change(DEPLOYMENT, complete);
    looked(&context, &said(json!({"fleet": {"members": 2, "shards": 3, "unowned": 2}}))).await;
    again(&api, &context).await.expect("the second reconcile succeeds");
    assert_eq!(condition(&api, "Progressing"), pair("True", "Rebalancing"));
    assert_eq!(condition(&api, "Ready"), pair("True", "Available"));
    looked(&context, &said(json!({}))).await;
    again(&api, &context).await.expect("the third reconcile succeeds");
    assert_eq!(condition(&api, "Progressing"), pair("False", "UpToDate"));
}

#[tokio::test]
async fn a_handler_that_gives_no_sign_of_life_is_stuck() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.change(DEPLOYMENT, complete);
    let silent = |ago: u32| {
        said(json!({"lastFailure": {"reason": "HandlerStuck", "text": "no sign of life", "secondsAgo": ago}}))
    };
    assert!(looked(&context, &silent(1)).await);
    again(&api, &context).await.expect("the second reconcile succeeds");
    assert_eq!(condition(&api, "HandlerHealthy"), pair("False", "Stuck"));
    assert_eq!(reasons(&api).iter().filter(|reason| *reason == "HandlerStuck").count(), 1);
    assert!(looked(&context, &silent(90)).await);
    again(&api, &context).await.expect("the third reconcile succeeds");
    assert_eq!(condition(&api, "HandlerHealthy"), pair("True", "Healthy"));
}

#[tokio::test]
async fn resets_and_changed_secrets_are_told_once() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    let notice = |number: u64, reason: &str, text: &str| json!({"number": number, "reason": reason, "text": text, "secondsAgo": 2});
    let two = said(json!({"notices": [
        notice(1, "OffsetReset", "orders/0 starts at 5"), notice(2, "SecretReloaded", "connections are made anew"),
    ]}));
    for _ in 0..3 {
        looked(&context, &two).await;
    }
    let wanted = [("OffsetReset", "orders/0 starts at 5"), ("SecretReloaded", "connections are made anew")];
    let told = api.events();
    for (reason, note) in wanted {
        assert_eq!(told.iter().filter(|(word, text)| word == reason && text == note).count(), 1, "{told:?}");
    }
    let calls = api.calls();
    let events = calls.iter().filter(|call| call.contains("/events")).count();
    assert!(events <= 4, "each is told once: {calls:?}");
}
