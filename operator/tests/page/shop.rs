//! A shop with seven objects: well, busy, late, asleep, paused, and two with which something is wrong.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
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
    objects::{complete, consumer, context, watched},
};

/// Some objects, and what their workers say.
pub(crate) struct Shop {
    pub(crate) context: Arc<Context>,
    pub(crate) workers: Saying,
    api: FakeApi,
}

/// Workers that say what they are made to say, by the name of their host.
#[derive(Clone, Default)]
pub(crate) struct Saying(BTreeMap<String, Vec<Value>>);

impl Workers for Saying {
    fn ask<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Vec<Said>> {
        let said = self.0.get(host).cloned().unwrap_or_default();
        let said = said.into_iter().enumerate().map(|(number, object)| Said {
            address: IpAddr::from([10, 85, 0, 11 + number as u8]),
            objects: serde_json::from_value(json!([object])).unwrap(),
        });
        let said: Vec<_> = said.collect();
        Box::pin(std::future::ready(said))
    }

    fn readings<'a>(&'a self, _host: &'a str, _after: u64) -> BoxFuture<'a, Option<Readings>> {
        Box::pin(std::future::ready(None))
    }
}

fn path(name: &str) -> String {
    format!("/apis/keyweir.io/v1alpha1/namespaces/shop/streamconsumers/{name}")
}

/// What the workers of an object say: so many, which share the shards with these lags and ages.
fn workers(name: &str, count: usize, lags: &[(i64, i64)], more: &Value) -> Vec<Value> {
    let each = lags.len().div_ceil(count.max(1));
    let worker = |number: usize| {
        let own = lags.iter().enumerate().skip(number * each).take(each);
        let shards: Vec<_> = own
            .map(|(shard, (lag, age))| json!({"shard": format!("{name}/{shard}"), "lag": lag, "lagSeconds": age}))
            .collect();
        let mut said = json!({
            "name": format!("shop/{name}"), "inFlight": 20 + 3 * number, "completed": 120_000 + 777 * number,
            "keptAside": 0, "shards": shards,
            "fleet": {"members": count, "shards": lags.len(), "unowned": 0},
        });
        for (field, value) in more.as_object().cloned().unwrap_or_default() {
            said[field] = value;
        }
        said
    };
    (0..count).map(worker).collect()
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let api = FakeApi::default();
        let context = context(&api);
        context.metrics.leads(true);
        let mut shop = Self { context, workers: Saying::default(), api };
        let late: Vec<_> = (0..8).map(|shard| (4_000 + 350 * shard, 280 + 23 * shard)).collect();
        let failure = json!({"reason": "HandlerTimeout", "text": "no answer within 30s", "secondsAgo": 4});
        let late = workers("orders", 4, &late, &json!({"keptAside": 3, "lastFailure": failure}));
        shop.add("orders", json!({"replicas": 4}), late).await;
        let reset = json!([{"number": 1, "reason": "OffsetReset", "text": "refunds/2 starts at 1200", "secondsAgo": 1}]);
        let well = workers("refunds", 2, &[(12, 0), (0, 0), (31, 1), (3, 0)], &json!({"notices": reset}));
        shop.add("refunds", json!({}), well).await;
        let busy = workers("audit", 2, &[(140, 2), (88, 1), (203, 3), (119, 2)], &json!({}));
        shop.add("audit", json!({"handler": {"exec": {"command": ["python3", "audit.py"]}}}), busy).await;
        let text = "there is no Secret kafka-login with the key <img src=x onerror=alert(1)>: create it";
        let lacks = json!({"troubles": [{"about": "secrets", "reason": "SecretMissing", "text": text}]});
        let mut lacking = workers("invoices", 1, &[], &lacks);
        lacking[0]["fleet"] = Value::Null;
        shop.add("invoices", json!({"replicas": 1}), lacking).await;
        shop.add("payouts", json!({"state": "Paused"}), workers("payouts", 2, &[(7, 0), (2, 0)], &json!({})))
            .await;
        shop.add("newsletter", json!({"replicas": 0}), Vec::new()).await;
        let http = json!({"http": {"url": "http://search-index.search.svc:8080/"}});
        let search = workers("search-index", 3, &[(0, 0), (5, 0), (9, 1)], &json!({}));
        shop.add("search-index", json!({"replicas": 3, "handler": http}), search).await;
        shop
    }

    /// An object as it is after a while with these workers.
    async fn add(&mut self, name: &str, spec: Value, workers: Vec<Value>) {
        let mut object = consumer(spec);
        object["metadata"]["name"] = name.into();
        object["metadata"]["uid"] = format!("uid-{name}").into();
        object["spec"]["source"]["kafka"]["group"] = name.into();
        self.api.put(&path(name), object);
        self.reconcile(name).await;
        let deployment = format!("/apis/apps/v1/namespaces/shop/deployments/{name}-stc");
        self.api.change(&deployment, complete);
        let lacks = workers.iter().any(|said| said.get("troubles").is_some());
        if lacks {
            self.api.change(&deployment, |deployment| deployment["status"]["readyReplicas"] = 0.into());
        }
        self.workers.0.insert(format!("{name}-stc.shop.svc"), workers);
        self.ask().await;
        self.reconcile(name).await;
    }

    async fn reconcile(&self, name: &str) {
        let stored = self.api.get(&path(name)).unwrap();
        reconcile(watched(&stored), Arc::clone(&self.context)).await.unwrap();
    }

    async fn ask(&self) {
        for subject in self.context.registry.due(Instant::now(), |_, _| Duration::ZERO) {
            look(&self.context, &self.workers, &subject).await;
        }
    }

    /// The late object has worked some of it off.
    pub(crate) async fn catch_up(&self) {
        let mut workers = self.workers.clone();
        let said = workers.0.get_mut("orders-stc.shop.svc").unwrap();
        said[0]["shards"][0]["lag"] = 3_900.into();
        for subject in self.context.registry.due(Instant::now(), |_, _| Duration::ZERO) {
            look(&self.context, &workers, &subject).await;
        }
    }
}
