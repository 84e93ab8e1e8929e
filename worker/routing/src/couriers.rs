//! Couriers: one for each target that is there. Up: the [crate](crate).

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use keyweir_core::MemberId;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::courier::{Courier, Dropped, Office, Presence};
use crate::stats::RoutingStats;
use crate::table::{Counter, Table, map};
use crate::{Dial, Secrets};
use keyweir_engine::ownership::Roll;
use keyweir_engine::pump::DispatchLimit;

/// How many records wait for one courier; more wait in their calls.
const PARCELS: usize = 1024;

/// Keeps a courier for each target and tells who executes what.
pub struct Couriers {
    office: Arc<Office>,
    roll: watch::Receiver<Option<Arc<Roll>>>,
    table: watch::Sender<Arc<Table>>,
    desks: HashMap<MemberId, Desk>,
}

/// One courier, from outside.
struct Desk {
    counter: Counter,
    presence: watch::Sender<Presence>,
}

impl Couriers {
    /// Nobody is on the way yet. `object` is the prefix of the object.
    pub fn new(
        object: String,
        dial: Arc<dyn Dial>,
        secrets: Arc<dyn Secrets>,
        roll: watch::Receiver<Option<Arc<Roll>>>,
        limit: DispatchLimit,
        stats: Arc<RoutingStats>,
    ) -> Self {
        let office = Arc::new(Office { object, dial, secrets, limit, stats });
        Self { office, roll, table: watch::Sender::default(), desks: HashMap::new() }
    }

    /// Who executes what.
    pub(crate) fn table(&self) -> watch::Receiver<Arc<Table>> {
        self.table.subscribe()
    }

    pub(crate) fn stats(&self) -> Arc<RoutingStats> {
        Arc::clone(&self.office.stats)
    }

    /// Until cancelled. Records that are on their way then stay unanswered.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut me = None;
        let mut running: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        loop {
            let roll = self.roll.borrow_and_update().clone();
            let known = roll.as_ref().map(|roll| roll.me.clone());
            if known != me {
                // What an earlier incarnation sent concerns nobody any more: its pump has given it up.
                running.clear();
                self.desks.clear();
                me = known;
            }
            let table = roll.map(|roll| self.follow(&roll, &running)).unwrap_or_default();
            self.table.send_replace(Arc::new(table));
            loop {
                tokio::select! {
                    biased;
                    // The end first; then who is there, which decides where records go; then the couriers.
                    () = cancel.cancelled() => return,
                    changed = self.roll.changed() => if changed.is_err() { return } else { break },
                    Some(()) = running.next(), if !running.is_empty() => {}
                }
            }
        }
    }

    /// Who is new gets a courier, who is gone loses his, and the slots go to those that may execute.
    fn follow(&mut self, roll: &Roll, running: &FuturesUnordered<BoxFuture<'static, ()>>) -> Table {
        self.desks.retain(|member, desk| {
            let is_here = roll.members.contains_key(member);
            if !is_here {
                desk.presence.send_replace(Presence::Gone);
            }
            is_here
        });
        let map = map(roll);
        let mut counters = HashMap::new();
        for target in map.members().iter().filter(|member| **member != roll.me) {
            let Some(address) = roll.members.get(target).and_then(|member| member.address.clone()) else {
                continue;
            };
            let desk = self.desks.entry(target.clone()).or_insert_with(|| {
                let (parcels, waiting) = mpsc::channel(PARCELS);
                let dropped = Arc::new(Dropped::default());
                let presence = watch::Sender::new(Presence::Here);
                let courier = Courier {
                    office: Arc::clone(&self.office),
                    me: roll.me.clone(),
                    target: target.clone(),
                    address,
                    parcels: waiting,
                    dropped: Arc::clone(&dropped),
                    presence: presence.subscribe(),
                };
                running.push(Box::pin(courier.run()));
                Desk { counter: Counter { parcels, dropped }, presence }
            });
            counters.insert(target.clone(), desk.counter.clone());
        }
        Table::new(map, counters)
    }
}
