//! Several processes with real pumps over one log and one store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_contract::worker_config::{FixedConfig, LiveConfig};
use keyweir_core::{Offset, ShardId};
use keyweir_engine::ownership::{LeaseCheckpoints, Neighbours, Owners, OwnershipSnapshot, Settings};
use keyweir_engine::pump::{Departed, DispatchLimit, Parts, Ports, PumpHandle, PumpReport, pump};
use keyweir_engine::testing::fakes::{
    FnHandler, MemoryLeaseClient, MemoryLeases, MemoryLog, MemoryParked, MemoryProducer,
};
use keyweir_engine::testing::oracle::Oracle;
use keyweir_engine::{NewRecord, Outcome};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fleet::{prefix, settings};

/// How long a record with this value takes.
type Manner = Arc<dyn Fn(&str) -> Duration + Send + Sync>;

/// When a record was done for the first time, and in which process.
type FirstDone = (Instant, usize);

/// Which attempts each record had, wherever.
type Attempts = BTreeMap<(ShardId, Offset), Vec<u32>>;

/// Several processes with real pumps over one log and one store.
pub(crate) struct Works {
    pub(crate) store: MemoryLeases,
    pub(crate) log: MemoryLog,
    pub(crate) oracle: Oracle,
    pub(crate) processes: BTreeMap<usize, Process>,
    pub(crate) fixed: serde_json::Value,
    pub(crate) live: LiveConfig,
    manner: Manner,
    sent: Vec<(ShardId, Offset, Instant)>,
    /// How long executing records may finish when a process leaves.
    pub(crate) drain: watch::Sender<Duration>,
    /// Which attempts each record had, wherever.
    attempts: Arc<Mutex<Attempts>>,
    /// When each record was done for the first time, and where.
    done: Arc<Mutex<BTreeMap<(ShardId, Offset), FirstDone>>>,
    next: usize,
}

pub(crate) struct Process {
    pub(crate) client: MemoryLeaseClient,
    pub(crate) pump: PumpHandle,
    pub(crate) status: watch::Receiver<Arc<OwnershipSnapshot>>,
    leave: CancellationToken,
    shutdown: CancellationToken,
    owners: JoinHandle<()>,
    run: JoinHandle<PumpReport>,
}

impl Works {
    pub(crate) fn new(partitions: u32, manner: impl Fn(&str) -> Duration + Send + Sync + 'static) -> Self {
        let log = MemoryLog::default();
        log.create("orders", partitions);
        let fixed = serde_json::json!({
            "source": {"embedded": {"topics": ["orders"], "group": "g", "partitions": 8, "startAt": "earliest",
                "retentionAge": "168h", "retentionBytes": "10Gi"}},
            "handler": {"handler": {"builtin": "drop"}, "options": {"timeout": null, "maxResponseBytes": "1Mi"}},
            "onUndecodable": "skip",
            "onExhausted": {"deadLetter": {"topic": "orders.dlq"}},
        });
        Self {
            store: MemoryLeases::new(),
            log,
            oracle: Oracle::default(),
            processes: BTreeMap::new(),
            fixed,
            live: LiveConfig::default(),
            manner: Arc::new(manner),
            sent: Vec::new(),
            drain: watch::Sender::new(Duration::from_secs(30)),
            attempts: Arc::default(),
            done: Arc::default(),
            next: 0,
        }
    }

    fn handler(&self, process: usize) -> FnHandler {
        let (manner, done) = (Arc::clone(&self.manner), Arc::clone(&self.done));
        let attempts = Arc::clone(&self.attempts);
        FnHandler::new(move |request| {
            let value = String::from_utf8_lossy(request.record.value().unwrap_or_default()).into_owned();
            let takes = manner(&value);
            let (done, place) = (Arc::clone(&done), ((*request.shard).clone(), request.record.offset));
            let mut known = attempts.lock().expect("no test panics with it");
            known.entry(place.clone()).or_default().push(request.attempt.0);
            async move {
                sleep(takes).await;
                if value == "fail" {
                    return Outcome::retry("OnPurpose", "it always fails");
                }
                let mut done = done.lock().expect("no test panics with it");
                done.entry(place).or_insert_with(|| (Instant::now(), process));
                Outcome::DONE
            }
        })
    }

    /// Starts a process.
    pub(crate) fn start(&mut self) -> usize {
        let process = self.next;
        self.next += 1;
        let client = self.store.client();
        client.set_latency(Duration::from_millis(2));
        let store = Arc::new(client.clone());
        let ports = Ports {
            source: Arc::new(self.log.clone()),
            checkpoints: Arc::new(LeaseCheckpoints::new(store.clone(), prefix())),
            producer: Arc::new(MemoryProducer::new(self.log.clone())),
            parked: Some(Arc::new(MemoryParked::default())),
            recall: Some(Arc::new(self.log.clone())),
            notices: Default::default(),
        };
        let (departed_to, departed) = mpsc::channel::<Departed>(1024);
        let (limit_to, limit) = DispatchLimit::new();
        let (leave, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let fixed: FixedConfig = serde_json::from_value(self.fixed.clone()).expect("the configuration reads");
        let order = format!("{:?} {:?}", fixed.key, fixed.ordering);
        let (handle, run) = pump(Parts {
            reader: self.log.reader(),
            handlers: vec![Arc::new(self.handler(process))],
            ports: ports.clone(),
            observers: vec![Box::new(self.oracle.of_process(process))],
            fixed: Arc::new(fixed),
            live: self.live.clone(),
            cpus: 1,
            seed: process as u64,
            departed: Some(departed_to),
            limit,
            shutdown: shutdown.clone(),
            hurry: CancellationToken::new(),
        });
        let (status_to, status) = watch::channel(Arc::default());
        let (_, healthy) = watch::channel(true);
        let owners = Owners {
            settings: Settings {
                discovery: Duration::from_secs(5),
                drain: self.drain.subscribe(),
                order: order.into(),
                ..settings(&format!("pod-{process}"))
            },
            store,
            ports,
            pumps: Arc::new(handle.clone()),
            healthy,
            departed,
            neighbours: Neighbours::none(),
            limit: limit_to,
            status: status_to,
            leave: leave.clone(),
        };
        let (owners, run) = (tokio::spawn(owners.run()), tokio::spawn(run));
        let process_ = Process { client, pump: handle, status, leave, shutdown, owners, run };
        self.processes.insert(process, process_);
        process
    }

    /// Starts a process and waits until it has joined: what a pod's readiness waits for.
    pub(crate) async fn start_ready(&mut self) -> usize {
        let process = self.start();
        let mut status = self.processes[&process].status.clone();
        status.wait_for(|status| status.member.is_some()).await.expect("it runs");
        process
    }

    /// Ends a process as SIGTERM would.
    pub(crate) async fn stop(&mut self, process: usize) -> PumpReport {
        let process = self.processes.remove(&process).expect("it runs");
        process.leave.cancel();
        timeout(Duration::from_secs(120), process.owners).await.expect("in time").expect("no panic");
        process.shutdown.cancel();
        timeout(Duration::from_secs(120), process.run).await.expect("in time").expect("no panic")
    }

    /// Tells a process to leave, and does not wait for it.
    pub(crate) fn leave(&self, process: usize) {
        self.processes[&process].leave.cancel();
    }

    /// Ends a process as kill -9 would.
    pub(crate) async fn kill(&mut self, process: usize) {
        let ended = self.processes.remove(&process).expect("it runs");
        ended.owners.abort();
        ended.run.abort();
        let _ = (ended.owners.await, ended.run.await);
        self.oracle.of_process(process).crashed();
    }

    pub(crate) fn send(&mut self, partition: u32, key: Option<&str>, value: &str) -> Offset {
        let record = NewRecord {
            key: key.map(|key| key.to_owned().into()),
            value: Some(value.to_owned().into()),
            ..NewRecord::default()
        };
        let offset = self.log.append("orders", partition, record);
        self.sent.push((ShardId::new("orders", partition), offset, Instant::now()));
        offset
    }

    /// Sends records of random keys, evenly, for a while.
    pub(crate) async fn send_for(&mut self, duration: Duration, per_second: u32, partitions: u32) {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            let number = self.sent.len() as u32;
            let key = number.wrapping_mul(2_654_435_761) >> 7;
            self.send(key % partitions, Some(&format!("k{}", key % 101)), "v");
            sleep(Duration::from_secs(1) / per_second).await;
        }
    }

    /// Waits until everything that was sent is done.
    pub(crate) async fn all_done(&self, within: Duration) {
        let until = Instant::now() + within;
        while let Some((shard, offset, _)) =
            self.sent.iter().find(|(shard, offset, _)| !self.is_done(shard, *offset))
        {
            assert!(Instant::now() < until, "{shard}@{offset} is not done; {:?}", self.oracle.violations());
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn is_done(&self, shard: &ShardId, offset: Offset) -> bool {
        self.oracle.done(shard, offset) > 0
    }

    /// Which attempts a record had so far, wherever.
    pub(crate) fn attempts(&self, shard: &ShardId, offset: Offset) -> Vec<u32> {
        let attempts = self.attempts.lock().expect("no test panics with it");
        attempts.get(&(shard.clone(), offset)).cloned().unwrap_or_default()
    }

    /// Where a record was done.
    pub(crate) fn done_by(&self, shard: &ShardId, offset: Offset) -> Option<usize> {
        let done = self.done.lock().expect("no test panics with it");
        done.get(&(shard.clone(), offset)).map(|(_, process)| *process)
    }

    /// How often records were done beyond once.
    pub(crate) fn repeats(&self) -> u32 {
        self.sent.iter().map(|(shard, offset, _)| self.oracle.done(shard, *offset).saturating_sub(1)).sum()
    }

    /// The longest time from sending to the end of handling.
    pub(crate) fn slowest(&self) -> Duration {
        let done = self.done.lock().expect("no test panics with it");
        let took = self.sent.iter().filter_map(|(shard, offset, sent)| {
            done.get(&(shard.clone(), *offset)).map(|(ended, _)| *ended - *sent)
        });
        took.max().unwrap_or_default()
    }

    /// How many records were sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Order was kept and no key was in two hands.
    pub(crate) fn check(&self) {
        assert_eq!(self.oracle.violations(), Vec::<String>::new());
    }

    pub(crate) fn owner_of(&self, shard: &ShardId) -> Option<usize> {
        let owner = self.processes.iter().find(|(_, process)| process.pump.owned().contains(shard));
        owner.map(|(process, _)| *process)
    }
}

impl Works {
    /// Makes the only shard move by adding a member and letting the owner's shard follow health: here by a stranger's
    /// hand, who deletes nothing and only marks the owner unwell in the store.
    pub(crate) async fn hand(&mut self, from: usize, to: usize) {
        let status = self.processes[&from].status.borrow().clone();
        let member = status.member.clone().expect("it has joined");
        let key = format!("{}members/{member}", prefix().live());
        let entry = self.store.standing(&key).entries.remove(0);
        let value = String::from_utf8_lossy(&entry.value).replace("\"healthy\":true", "\"healthy\":false");
        let put =
            |value: Vec<u8>| keyweir_engine::ports::Transaction::new().put(key.clone(), value, entry.lease);
        self.store.meddle(put(value.into_bytes())).expect("written");
        let until = Instant::now() + Duration::from_secs(2);
        while self.owner_of(&ShardId::new("orders", 0)) != Some(to) {
            assert!(Instant::now() < until, "it does not move");
            sleep(Duration::from_millis(10)).await;
        }
        self.store.meddle(put(entry.value.to_vec())).expect("written");
        sleep(Duration::from_millis(500)).await;
    }
}
