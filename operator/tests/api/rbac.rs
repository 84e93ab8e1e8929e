//! What the chart lets the operator do is what the operator does: no verb more, none less.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use http::Method;
use keyweir_operator::{context::Context, controllers::stream_consumer::run, metrics::Metrics};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    fake::FakeApi,
    meters::metered,
    network::walled,
    objects::{CONSUMER, STATEFUL_SET, settings},
    purge::purged,
    reconcile::{once, scaled, stored},
};

/// Said by no call: who may own objects is asked for where the API server enforces it.
const UNSEEN: (&str, &str, &str) = ("keyweir.io", "streamconsumers/finalizers", "update");

type Rights = BTreeSet<(String, String, String)>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

#[tokio::test]
async fn the_chart_grants_what_the_operator_asks_for_and_nothing_else() {
    let mut calls = Vec::new();
    // An object whose workload changes its sort, whose workers are told to be more, and which is settled twice.
    let api = stored(json!({"coordination": {"type": "None"}, "replicas": 1}));
    once(&api).await.expect("the single worker is made");
    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["generation"] = 2.into();
        consumer["spec"]["coordination"] =
            json!({"type": "Etcd", "etcd": {"endpoints": ["http://etcd:2379"]}});
        // Whose workers recognise each other by a Secret.
        consumer["spec"]["routing"] = "Key".into();
    });
    once(&api).await.expect("the predecessor is asked to end");
    api.remove(STATEFUL_SET);
    once(&api).await.expect("the Deployment is made");
    api.change(CONSUMER, |consumer| {
        consumer["metadata"]["generation"] = 3.into();
        consumer["spec"]["coordination"] = json!({"type": "None"});
        consumer["spec"]["routing"] = "Partition".into();
        consumer["spec"]["replicas"] = 1.into();
    });
    once(&api).await.expect("the Deployment is asked to end");
    calls.append(&mut api.calls());
    calls.append(&mut scaled().await);
    calls.append(&mut metered().await);
    calls.append(&mut purged().await);
    calls.append(&mut walled().await);

    let mut asked = rights(&calls, false);
    let watching = FakeApi::default();
    let stop = CancellationToken::new();
    let context = Arc::new(Context::new(watching.client(), settings(), Metrics::default()));
    let running = run(context, 1, stop.clone());
    // Every watch begins with a list; the fake has none of these, so each is asked for at once and again later.
    let ended = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.cancel();
    };
    tokio::join!(running, ended);
    asked.extend(rights(&watching.calls(), true));
    asked.insert((UNSEEN.0.to_owned(), UNSEEN.1.to_owned(), UNSEEN.2.to_owned()));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/keyweir/rules.yaml");
    let rules: Vec<Rule> =
        serde_saphyr::from_str(&std::fs::read_to_string(path).expect("the rules")).expect("rules");
    let mut granted = Rights::new();
    for rule in &rules {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                granted.extend(rule.verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
            }
        }
    }
    let missing: Vec<_> = asked.difference(&granted).collect();
    let needless: Vec<_> = granted.difference(&asked).collect();
    assert!(missing.is_empty() && needless.is_empty(), "missing: {missing:?}, needless: {needless:?}");
}

/// The rights that calls need. A list of a whole kind is the beginning of a watch.
fn rights(calls: &[String], watching: bool) -> Rights {
    let mut rights = Rights::new();
    for call in calls {
        let (method, path) = call.split_once(' ').expect("METHOD path");
        let Some((group, resource, named)) = resource(path) else { continue };
        let mut add = |verb: &str| {
            rights.insert((group.clone(), resource.clone(), verb.to_owned()));
        };
        match (method.parse::<Method>().expect("a method"), named) {
            (Method::GET, true) => add("get"),
            (Method::GET, false) if watching => ["list", "watch"].into_iter().for_each(&mut add),
            (Method::GET, false) => add("list"),
            // A pod is marked and an object held, neither is made.
            (Method::PATCH, _) if ["pods", "streamconsumers"].contains(&resource.as_str()) => add("patch"),
            // Server-side apply makes what is not there; a status or a scale always is.
            (Method::PATCH, _) if resource.contains('/') => add("patch"),
            (Method::PATCH, _) => ["create", "patch"].into_iter().for_each(&mut add),
            (Method::POST, _) => add("create"),
            (Method::DELETE, _) => add("delete"),
            (method, _) => unreachable!("nobody expects {method} here"),
        }
    }
    rights
}

/// Group and resource of a path, and whether it names one object.
fn resource(path: &str) -> Option<(String, String, bool)> {
    let mut parts = path.trim_start_matches('/').split('/');
    let group = match parts.next()? {
        "api" => String::new(),
        "apis" => parts.next()?.to_owned(),
        _ => return None,
    };
    parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let resource = match rest.get(2) {
        Some(sub) => format!("{}/{sub}", rest[0]),
        None => (*rest.first()?).to_owned(),
    };
    Some((group, resource, rest.len() > 1))
}
