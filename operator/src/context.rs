//! What every reconcile is given, and the little it remembers from one time to the next.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kube::Client;
use tokio::time::Instant;

use crate::{
    cluster::{events::Events, memory::Memory},
    controllers::{first_pass::FirstPass, upgrades::Upgrades},
    meters::Meters,
    metrics::Metrics,
    page::board::Board,
    queue::Queue,
    registry::{Name, Registry, claims::Claims},
    settings::Settings,
};

/// What every reconcile is given.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The installation.
    pub settings: Settings,
    /// Where events go.
    pub events: Events,
    /// Where things are counted.
    pub metrics: Metrics,
    /// What was applied the last time.
    pub memory: Memory,
    /// What the workers of each object last said.
    pub registry: Registry,
    /// Which objects are measured without workers.
    pub meters: Meters,
    /// Which objects read with which group.
    pub claims: Claims,
    /// Whether all objects have been looked at.
    pub first_pass: FirstPass,
    /// Whose workers are replaced after an upgrade.
    pub upgrades: Upgrades,
    /// What was last published of each object, for the status page.
    pub board: Board,
    /// Which objects wait for their reconcile.
    pub queue: Queue,
    /// When this operator began.
    pub began: Instant,
    /// Failures in a row of each object, by uid. Held for one look-up at a time.
    failures: Mutex<HashMap<String, u32>>,
}

impl Context {
    /// The context of an operator that begins.
    pub fn new(client: Client, settings: Settings, metrics: Metrics) -> Self {
        let queue = Queue::new(metrics.clone());
        let upgrades = Upgrades::new(settings.upgrade_limit);
        let events = Events::new(client.clone(), settings.instance.clone());
        Self {
            client,
            settings,
            events,
            metrics,
            memory: Memory::default(),
            registry: Registry::default(),
            meters: Meters::default(),
            claims: Claims::default(),
            first_pass: FirstPass::default(),
            upgrades,
            board: Board::default(),
            queue,
            began: Instant::now(),
            failures: Mutex::default(),
        }
    }

    /// Counts another failure of that object; says how many in a row this makes.
    pub fn failed(&self, uid: &str) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Asks nobody about that object any more.
    pub fn forget(&self, name: &Name) {
        self.registry.forget(name);
        self.meters.measure(name, None);
        self.claims.release(name);
        self.upgrades.leave(name);
        self.board.remove(name);
        self.queue.leave(name);
    }

    /// Forgets the failures of an object that succeeded, or is gone.
    pub fn succeeded(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
