//! The objects that the tests begin with, and the paths at which they lie.

use std::sync::Arc;

use keyweir_crds::StreamConsumer;
use keyweir_operator::{
    context::Context,
    metrics::Metrics,
    settings::{Defaults, Scope, Settings},
};
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};

use crate::fake::FakeApi;

/// Where the consumer lies.
pub(crate) const CONSUMER: &str = "/apis/keyweir.io/v1alpha1/namespaces/shop/streamconsumers/orders";
/// Where its Deployment lies.
pub(crate) const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/orders-stc";
/// Where its StatefulSet lies.
pub(crate) const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/shop/statefulsets/orders-stc";
/// Where its ConfigMap lies.
pub(crate) const CONFIG_MAP: &str = "/api/v1/namespaces/shop/configmaps/orders-stc";

/// A consumer as the API server stores it, defaults applied.
pub(crate) fn consumer(spec: Value) -> Value {
    let mut whole = json!({
        "class": "",
        "source": {"kafka": {
            "bootstrapServers": ["kafka:9092"], "topics": ["orders"], "group": "orders"
        }},
        "coordination": {"type": "Etcd", "etcd": {"endpoints": ["http://etcd:2379"]}},
        "handler": {"http": {"url": "http://orders/"}},
        "replicas": 2,
    });
    for (name, value) in spec.as_object().cloned().unwrap_or_default() {
        whole[name] = value;
    }
    json!({
        "apiVersion": "keyweir.io/v1alpha1",
        "kind": "StreamConsumer",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "uid-1", "generation": 1},
        "spec": whole,
    })
}

/// What the watch would carry of it.
pub(crate) fn watched(consumer: &Value) -> Arc<PartialObjectMeta<StreamConsumer>> {
    let metadata = json!({"metadata": consumer["metadata"]});
    Arc::new(serde_json::from_value(metadata).expect("metadata of an object"))
}

/// The context of such an installation.
pub(crate) fn context(api: &FakeApi) -> Arc<Context> {
    Arc::new(Context::new(api.client(), settings(), Metrics::default()))
}

/// An installation without a class and without defaults.
pub(crate) fn settings() -> Settings {
    Settings {
        class: String::new(),
        scope: Scope::Cluster,
        worker_image: "keyweir-worker:test".to_owned(),
        worker_image_pull_policy: "IfNotPresent".to_owned(),
        defaults: Defaults::default(),
        upgrade_limit: 1,
        instance: Some("operator-0".to_owned()),
        lease: None,
    }
}

/// Makes a Deployment look as if all its pods ran.
pub(crate) fn complete(deployment: &mut Value) {
    let replicas = deployment["spec"]["replicas"].clone();
    deployment["status"] = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas,
        "availableReplicas": replicas,
    });
}

/// Truth and reason of a condition of the stored consumer.
pub(crate) fn condition(api: &FakeApi, type_: &str) -> Option<(String, String)> {
    let consumer = api.get(CONSUMER)?;
    let conditions = consumer["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}
