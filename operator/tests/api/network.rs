//! Who may reach what the operator makes, where the installation limits that.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer};
use keyweir_operator::{
    context::Context,
    meters::keep,
    metrics::Metrics,
    registry::Name,
    settings::{Defaults, NetworkPolicyDefaults, Settings},
};
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    fake::FakeApi,
    objects::{context, settings},
    reconcile::{again, stored},
};

const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";

/// An installation that lets only its own namespace ask.
fn limited(api: &FakeApi) -> Arc<Context> {
    let peer =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keyweir-system"}}});
    let from: Vec<NetworkPolicyPeer> = vec![serde_json::from_value(peer).expect("a peer")];
    let defaults = Defaults { network_policy: Some(NetworkPolicyDefaults { from }), ..Defaults::default() };
    Arc::new(Context::new(api.client(), Settings { defaults, ..settings() }, Metrics::default()))
}

#[tokio::test]
async fn where_the_installation_says_so_only_its_peers_and_members_reach_the_pods() {
    let api = stored(json!({"routing": "Key", "scaling": {"mode": "External"}}));
    let context = limited(&api);
    again(&api, &context).await.expect("the reconcile succeeds");
    let policy = api.get(&format!("{POLICIES}/orders-stc")).expect("a policy");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"], "orders");
    let ingress = &policy["spec"]["ingress"];
    let port = |rule: usize| ingress[rule]["ports"][0]["port"].clone();
    assert_eq!((port(0), port(1)), (json!(7080), json!(7070)));
    let asks = &ingress[0]["from"][0]["namespaceSelector"]["matchLabels"];
    assert_eq!(asks["kubernetes.io/metadata.name"], "keyweir-system");
    assert_eq!(ingress[1]["from"][0]["podSelector"], policy["spec"]["podSelector"], "members only");

    context.first_pass.passed(Name { namespace: "shop".to_owned(), name: "orders".to_owned() }, 1);
    keep::write(&context, Instant::now()).await;
    let of_meter = format!("PATCH {POLICIES}/keyweir-meter-");
    assert!(api.calls().iter().any(|call| call.starts_with(&of_meter)), "a meter's policy");
}

#[tokio::test]
async fn a_policy_goes_when_the_installation_does_not_want_it_any_more() {
    let (api, calls) = unwalled().await;
    let path = format!("{POLICIES}/orders-stc");
    assert!(api.get(&path).is_some_and(|policy| policy["metadata"]["deletionTimestamp"].is_string()));
    assert!(calls.contains(&format!("DELETE {path}")), "{calls:?}");
}

/// An operator that limits nothing follows one that did.
async fn unwalled() -> (FakeApi, Vec<String>) {
    let api = stored(json!({}));
    again(&api, &limited(&api)).await.expect("the reconcile succeeds");
    let policy = api.get(&format!("{POLICIES}/orders-stc")).expect("a policy");
    assert!(policy["metadata"]["deletionTimestamp"].is_null());
    let policy: NetworkPolicy = serde_json::from_value(policy).expect("a policy");
    let next = context(&api);
    // What the watch of an operator begins with.
    next.memory.saw(&Event::InitApply(policy));
    again(&api, &next).await.expect("the reconcile succeeds");
    let calls = api.calls();
    (api, calls)
}

/// The calls of operators that make policies, and remove them.
pub(crate) async fn walled() -> Vec<String> {
    unwalled().await.1
}
