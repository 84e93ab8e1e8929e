//! A fleet of members of one object over the fake store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::keys::ObjectPrefix;
use keyweir_engine::notices::Notices;
use keyweir_engine::ownership::{LeaseCheckpoints, Neighbours, Owners, OwnershipSnapshot, Placing, Settings};
use keyweir_engine::ports::StartAt;
use keyweir_engine::pump::{DispatchLimit, Ports};
use keyweir_engine::testing::fakes::{MemoryLeaseClient, MemoryLeases, MemoryLog, MemoryProducer};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::pumps::{MemoryPumps, Truth};

pub(crate) const TTL: Duration = Duration::from_secs(5);

/// All that outlives a member.
pub(crate) struct Fleet {
    pub(crate) store: MemoryLeases,
    pub(crate) log: MemoryLog,
    pub(crate) truth: Truth,
    pub(crate) latency: Duration,
    pub(crate) drain: Duration,
    pub(crate) members: BTreeMap<usize, Member>,
    next: usize,
}

/// One process.
pub(crate) struct Member {
    pub(crate) client: MemoryLeaseClient,
    pub(crate) pumps: MemoryPumps,
    pub(crate) healthy: watch::Sender<bool>,
    pub(crate) status: watch::Receiver<Arc<OwnershipSnapshot>>,
    pub(crate) leave: CancellationToken,
    pub(crate) notices: Notices,
    pub(crate) run: JoinHandle<()>,
    // Nothing departs from pumps that only remember; the sender keeps the channel open.
    _departed: mpsc::Sender<keyweir_engine::pump::Departed>,
}

pub(crate) fn prefix() -> ObjectPrefix {
    ObjectPrefix::new("/keyweir", "shop", "orders")
}

pub(crate) fn settings(uid: &str) -> Settings {
    Settings {
        prefix: prefix(),
        object_uid: "uid-1".into(),
        member_uid: uid.into(),
        placing: Placing::Dynamic,
        sole_incarnation: false,
        address: None,
        wire: None,
        page: None,
        capacity: 1,
        zone: None,
        ttl: TTL,
        program: "0.1.0".into(),
        start: StartAt::Earliest,
        discovery: Duration::from_secs(60),
        drain: watch::channel(Duration::from_secs(30)).1,
        order: "".into(),
        streams: vec!["orders".into()],
    }
}

impl Fleet {
    pub(crate) fn new(shards: u32) -> Self {
        let log = MemoryLog::default();
        log.create("orders", shards);
        Self {
            store: MemoryLeases::new(),
            log,
            truth: Truth::default(),
            latency: Duration::from_millis(2),
            drain: Duration::from_secs(30),
            members: BTreeMap::new(),
            next: 0,
        }
    }

    /// Starts a member of a uid of its own.
    pub(crate) fn join(&mut self) -> usize {
        self.join_as(settings(&format!("pod-{}", self.next)))
    }

    pub(crate) fn join_as(&mut self, settings: Settings) -> usize {
        let process = self.next;
        self.next += 1;
        let client = self.store.client();
        client.set_latency(self.latency);
        let pumps = MemoryPumps::new(process, self.truth.clone());
        let checkpoints = LeaseCheckpoints::new(Arc::new(client.clone()), settings.prefix.clone());
        let (healthy, health) = watch::channel(true);
        let (status_tx, status) = watch::channel(Arc::default());
        let (departed_tx, departed) = mpsc::channel(16);
        let (leave, notices) = (CancellationToken::new(), Notices::default());
        let owners = Owners {
            settings: Settings { drain: watch::channel(self.drain).1, ..settings },
            store: Arc::new(client.clone()),
            ports: Ports {
                source: Arc::new(self.log.clone()),
                checkpoints: Arc::new(checkpoints),
                producer: Arc::new(MemoryProducer::new(self.log.clone())),
                parked: None,
                recall: None,
                notices: notices.clone(),
            },
            pumps: Arc::new(pumps.clone()),
            healthy: health,
            departed,
            neighbours: Neighbours::none(),
            limit: DispatchLimit::new().0,
            status: status_tx,
            leave: leave.clone(),
        };
        let run = tokio::spawn(owners.run());
        let member = Member { client, pumps, healthy, status, leave, notices, run, _departed: departed_tx };
        self.members.insert(process, member);
        process
    }

    /// Ends a member as SIGTERM would, and waits for its end.
    pub(crate) async fn leave(&mut self, process: usize) {
        let member = self.members.remove(&process).expect("it runs");
        member.leave.cancel();
        timeout(self.drain * 2, member.run).await.expect("it leaves in time").expect("it does not panic");
    }

    /// Ends a member as kill -9 would.
    pub(crate) async fn kill(&mut self, process: usize) {
        let member = self.members.remove(&process).expect("it runs");
        member.run.abort();
        let _ = member.run.await;
        // Its keeper dies with it: nobody holds its renewals any more.
        self.truth.died(process);
    }

    /// Waits until a member has joined: what a pod's readiness waits for.
    pub(crate) async fn joined(&self, process: usize) {
        let mut status = self.member(process).status.clone();
        status.wait_for(|status| status.member.is_some()).await.expect("it runs");
    }

    pub(crate) fn member(&self, process: usize) -> &Member {
        &self.members[&process]
    }

    /// Waits until each of these members has its share and every shard one owner; says how long that took.
    pub(crate) async fn settled(&self, within: Duration) -> Duration {
        let start = Instant::now();
        while let Some(why) = self.unsettled() {
            assert!(start.elapsed() < within, "not settled after {within:?}: {why}");
            sleep(Duration::from_millis(5)).await;
        }
        self.check();
        start.elapsed()
    }

    fn unsettled(&self) -> Option<String> {
        let facts = self.truth.facts();
        let mut loads: BTreeMap<usize, usize> = self.members.keys().map(|process| (*process, 0)).collect();
        let mut owned = 0;
        for (shard, owners) in &facts.active {
            match owners.len() {
                0 => return Some(format!("{shard} has no owner")),
                1 => owned += 1,
                _ => return Some(format!("{shard} has several owners")),
            }
            for owner in owners.keys() {
                *loads.entry(*owner).or_default() += 1;
            }
        }
        let list =
            self.members.values().map(|member| member.status.borrow().shards).max().unwrap_or_default();
        if owned < list.max(1) {
            return Some(format!("{owned} of {list} shards are owned"));
        }
        let well = |process: &usize| *self.member(*process).healthy.borrow();
        let counted: Vec<usize> =
            loads.iter().filter(|(process, _)| well(process)).map(|(_, load)| *load).collect();
        let (low, high) = (counted.iter().min()?, counted.iter().max()?);
        (high - low > 1).then(|| format!("loads are {loads:?}"))
    }

    /// No rule was broken so far.
    pub(crate) fn check(&self) {
        assert_eq!(self.truth.facts().violations, Vec::<String>::new());
    }
}
