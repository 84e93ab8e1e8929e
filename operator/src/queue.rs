//! Which objects wait for their reconcile because something has changed, and for how long: the controller's own queue
//! can't be looked into.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{metrics::Metrics, registry::Name};

/// One that waits for longer than this never comes: what had changed belongs to an object that is gone.
const NEVER: Duration = Duration::from_secs(600);

/// Objects that wait for their reconcile.
pub struct Queue {
    metrics: Metrics,
    /// Since when each waits. Held for one look-up at a time, never across an await.
    waiting: Mutex<HashMap<Name, Instant>>,
}

impl Queue {
    /// Nothing waits yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, waiting: Mutex::default() }
    }

    /// Something has changed that concerns the object.
    pub fn enter(&self, name: Name) {
        let mut waiting = self.lock();
        waiting.entry(name).or_insert_with(Instant::now);
        self.metrics.queue_depth(waiting.len());
    }

    /// Its reconcile begins.
    pub fn begin(&self, name: &Name) {
        if let Some(since) = self.leave(name) {
            self.metrics.waited(since.elapsed());
        }
    }

    /// It waits no more; since when it did.
    pub fn leave(&self, name: &Name) -> Option<Instant> {
        let mut waiting = self.lock();
        let since = waiting.remove(name);
        if waiting.len() > 1 {
            let now = Instant::now();
            waiting.retain(|_, since| now - *since < NEVER);
        }
        if waiting.is_empty() {
            waiting.shrink_to_fit();
        }
        self.metrics.queue_depth(waiting.len());
        since
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_object_waits_once_however_much_changes_and_one_that_is_gone_not_for_ever() {
        let metrics = Metrics::default();
        let queue = Queue::new(metrics.clone());
        let name = |name: &str| Name { namespace: "shop".to_owned(), name: name.to_owned() };
        for object in ["a", "b", "a", "gone"] {
            queue.enter(name(object));
        }
        let says = |line: &str| assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
        says("keyweir_operator_queue_depth 3");
        tokio::time::advance(Duration::from_secs(2)).await;
        queue.begin(&name("a"));
        says("keyweir_operator_queue_depth 2");
        says("keyweir_operator_queue_seconds_sum 2");
        tokio::time::advance(NEVER).await;
        queue.enter(name("c"));
        queue.begin(&name("c"));
        says("keyweir_operator_queue_depth 0");
    }
}
