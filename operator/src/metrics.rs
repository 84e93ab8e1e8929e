//! All metrics of the operator, and their names. Labels have few values: kinds, verbs, reasons.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watch {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
}

/// The operator's counters and gauges; clones count on the same ones.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<Kind, Counter>,
    failures: Family<Failure, Counter>,
    durations: Family<Kind, Histogram>,
    reconciling: Family<Kind, Gauge>,
    objects: Family<Kind, Gauge>,
    watch_errors: Family<Watch, Counter>,
    requests: Family<Request, Counter>,
    leader: Gauge<u64, AtomicU64>,
    queue_depth: Gauge,
    queue_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("keyweir_operator");
        let durations = Family::<Kind, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.005, 2.0, 12))
        });
        let mut metrics = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            failures: Family::default(),
            durations,
            reconciling: Family::default(),
            objects: Family::default(),
            watch_errors: Family::default(),
            requests: Family::default(),
            leader: Gauge::default(),
            queue_depth: Gauge::default(),
            queue_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 12)),
        };
        registry.register("reconciles", "Reconciles begun", metrics.reconciles.clone());
        registry.register(
            "reconcile_failures",
            "Reconciles that failed, by reason",
            metrics.failures.clone(),
        );
        registry.register("reconcile_seconds", "How long a reconcile took", metrics.durations.clone());
        registry.register("reconciling", "Reconciles running now", metrics.reconciling.clone());
        registry.register("objects", "Objects looked after", metrics.objects.clone());
        registry.register("watch_errors", "Watches that broke and began anew", metrics.watch_errors.clone());
        registry.register("api_requests", "Requests to the API server", metrics.requests.clone());
        registry.register("leader", "1 where this replica leads", metrics.leader.clone());
        registry.register(
            "queue_depth",
            "Objects that wait for their reconcile because something has changed",
            metrics.queue_depth.clone(),
        );
        registry.register("queue_seconds", "How long they have waited", metrics.queue_seconds.clone());
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    /// Counts a reconcile from its beginning to the end of the returned guard.
    pub fn reconcile(&self, kind: &'static str) -> Reconcile {
        self.reconciles.get_or_create(&Kind { kind }).inc();
        self.reconciling.get_or_create(&Kind { kind }).inc();
        Reconcile { metrics: self.clone(), kind, begun: Instant::now() }
    }

    /// Counts a failed reconcile.
    pub fn failed(&self, kind: &'static str, reason: &'static str) {
        self.failures.get_or_create(&Failure { kind, reason }).inc();
    }

    /// Says how many objects of a kind there are.
    pub fn objects(&self, kind: &'static str, count: usize) {
        self.objects.get_or_create(&Kind { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a watch that broke.
    pub fn watch_broke(&self, kind: String) {
        self.watch_errors.get_or_create(&Watch { kind }).inc();
    }

    /// Counts a request to the API server.
    pub fn requested(&self, method: &http::Method) {
        self.requests.get_or_create(&Request { method: method.as_str().to_owned() }).inc();
    }

    /// Says whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(u64::from(leads));
    }

    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        self.leader.get() > 0
    }

    /// Says how many objects wait for their reconcile.
    pub fn queue_depth(&self, depth: usize) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Counts an object that has waited for its reconcile.
    pub fn waited(&self, time: Duration) {
        self.queue_seconds.observe(time.as_secs_f64());
    }

    /// All of it in the text format that scrapers read.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A reconcile that is running; ends when dropped, cancelled ones too.
pub struct Reconcile {
    metrics: Metrics,
    kind: &'static str,
    begun: Instant,
}

impl Drop for Reconcile {
    fn drop(&mut self) {
        let kind = Kind { kind: self.kind };
        self.metrics.reconciling.get_or_create(&kind).dec();
        self.metrics.durations.get_or_create(&kind).observe(self.begun.elapsed().as_secs_f64());
    }
}
