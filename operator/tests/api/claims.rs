//! What an object lacks that CEL can't see: a group of its own, a Secret.

use keyweir_crds::StreamConsumer;
use serde_json::json;

use crate::{
    objects::{CONSUMER, DEPLOYMENT, complete, condition, consumer, context},
    reconcile::{again, looked, pair, stored},
};

#[tokio::test]
async fn the_younger_of_two_objects_on_one_group_is_refused_and_ended_until_the_older_one_goes() {
    let api = stored(json!({}));
    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["creationTimestamp"] = "2026-02-02T00:00:00Z".into()
    });
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.change(DEPLOYMENT, complete);
    again(&api, &context).await.expect("the second reconcile succeeds");
    assert_eq!(condition(&api, "Accepted"), pair("True", "Accepted"));

    let mut older = consumer(json!({}));
    older["metadata"]["name"] = "older".into();
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let older: StreamConsumer = serde_json::from_value(older).expect("a consumer");
    assert_eq!(context.claims.claim(&older), None);
    again(&api, &context).await.expect("a refusal is no failure");
    assert_eq!(condition(&api, "Accepted"), pair("False", "GroupInUse"));
    assert_eq!(condition(&api, "Ready"), pair("False", "GroupInUse"));
    assert!(api.get(DEPLOYMENT).is_some_and(|gone| gone["metadata"]["deletionTimestamp"].is_string()));
    let told = api.get(CONSUMER).expect("it is stored")["status"].to_string();
    assert!(told.contains("StreamConsumer shop/older is older"), "{told}");

    // Another operator that has not seen the older one yet believes what was said.
    let anew = crate::objects::context(&api);
    again(&api, &anew).await.expect("a refusal is no failure");
    assert_eq!(condition(&api, "Accepted"), pair("False", "GroupInUse"));

    api.remove(DEPLOYMENT);
    context.claims.release(
        &context
            .claims
            .claim(&serde_json::from_value(api.get(CONSUMER).expect("it is stored")).expect("a consumer"))
            .expect("the older one"),
    );
    again(&api, &context).await.expect("the last reconcile succeeds");
    assert_eq!(condition(&api, "Accepted"), pair("False", "GroupInUse"), "the first pass is not over");
    context.first_pass.passed(
        keyweir_operator::registry::Name { namespace: "shop".to_owned(), name: "orders".to_owned() },
        1,
    );
    again(&api, &context).await.expect("the last reconcile succeeds");
    assert_eq!(condition(&api, "Accepted"), pair("True", "Accepted"));
    assert!(api.get(DEPLOYMENT).is_some());
}

#[tokio::test]
async fn a_missing_secret_is_told_by_its_name_and_the_operator_never_asks_for_it() {
    let api = stored(json!({}));
    let context = context(&api);
    again(&api, &context).await.expect("the first reconcile succeeds");
    api.calls();
    let lack = json!([{"about": "secrets", "reason": "KeyMissing", "text": "Secret orders has no key password: add it"}]);
    let said = |troubles| json!([{"name": "shop/orders", "inFlight": 0, "troubles": troubles}]);
    assert!(looked(&context, &said(lack)).await);
    again(&api, &context).await.expect("the second reconcile succeeds");
    for (type_, truth) in [("Accepted", "False"), ("Stalled", "True"), ("Ready", "False")] {
        assert_eq!(condition(&api, type_), pair(truth, "KeyMissing"), "{type_}");
    }
    assert!(!api.calls().iter().any(|call| call.contains("/secrets")));
    assert!(looked(&context, &said(json!([]))).await);
    again(&api, &context).await.expect("the third reconcile succeeds");
    assert_eq!(condition(&api, "Accepted"), pair("True", "Accepted"));
}
