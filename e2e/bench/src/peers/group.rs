//! A consumer group of rdkafka with cooperative rebalancing, as its documentation advises: keys run in parallel on
//! 64 threads, offsets are stored once all below are done, and a partition that is taken away is finished and
//! committed first. It writes when records end, for [`crate::moves`].

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keyweir_e2e::fleet::unix_millis;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

use crate::child::Member;

const THREADS: usize = 64;

/// How long a partition that is taken away may be finished.
const FINISH: Duration = Duration::from_secs(5);

/// What is read and not done, and how far each partition is.
#[derive(Default)]
struct Progress {
    open: BTreeMap<i32, BTreeSet<i64>>,
    next: BTreeMap<i32, i64>,
}

#[derive(Clone)]
struct Shared {
    topic: Arc<str>,
    progress: Arc<Mutex<Progress>>,
    log: Arc<Mutex<File>>,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Below these offsets everything is done.
    fn done(&self) -> TopicPartitionList {
        let progress = self.progress();
        let mut list = TopicPartitionList::new();
        for (partition, next) in &progress.next {
            let first = progress.open.get(partition).and_then(BTreeSet::first).unwrap_or(next);
            // One that can't be added is committed with the next.
            let _ = list.add_partition_offset(&self.topic, *partition, Offset::Offset(*first));
        }
        list
    }

    fn ended(&self, partition: i32, offset: i64) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = unix_millis();
        // A line that can't be written is missed by the table, which says so.
        let _ = writeln!(
            log,
            r#"{{"step":"ended","verdict":"done","partition":{partition},"offset":{offset},"wallMs":{wall}}}"#
        );
        drop(log);
        if let Some(open) = self.progress().open.get_mut(&partition) {
            open.remove(&offset);
        }
    }
}

impl ClientContext for Shared {}

impl ConsumerContext for Shared {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(taken) = rebalance else { return };
        let taken: Vec<i32> = taken.elements().iter().map(|element| element.partition()).collect();
        let until = Instant::now() + FINISH;
        let busy = || {
            taken
                .iter()
                .any(|partition| self.progress().open.get(partition).is_some_and(|open| !open.is_empty()))
        };
        while busy() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Err(error) = consumer.commit(&self.done(), CommitMode::Sync) {
            eprintln!("not committed before a rebalance: {error}");
        }
        let mut progress = self.progress();
        for partition in taken {
            progress.open.remove(&partition);
            progress.next.remove(&partition);
        }
    }
}

/// Works until it is asked to end.
///
/// # Errors
/// When the consumer can't be made or its log not be written.
pub fn run(member: &Member) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook(&stop)?;
    let log = File::options().create(true).append(true).open(&member.log)?;
    let shared = Shared {
        topic: Arc::from(member.topic.as_str()),
        progress: Arc::default(),
        log: Arc::new(Mutex::new(log)),
    };
    let consumer: BaseConsumer<Shared> = ClientConfig::new()
        .set("bootstrap.servers", &member.bootstrap)
        .set("group.id", &member.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "2000")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create_with_context(shared.clone())?;
    consumer.subscribe(&[&member.topic])?;
    let threads: Vec<Sender<(i32, i64)>> = (0..THREADS).map(|_| work(&shared, member.handler)).collect();
    let hash = BuildHasherDefault::<DefaultHasher>::default();
    let mut commit_at = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if commit_at <= Instant::now() {
            commit_at = Instant::now() + Duration::from_secs(1);
            let done = shared.done();
            if done.count() > 0
                && let Err(error) = consumer.commit(&done, CommitMode::Async)
            {
                eprintln!("not committed: {error}");
            }
        }
        let Some(polled) = consumer.poll(Duration::from_millis(10)) else { continue };
        let record = polled?;
        let (partition, offset) = (record.partition(), record.offset());
        let mut progress = shared.progress();
        progress.open.entry(partition).or_default().insert(offset);
        progress.next.insert(partition, offset + 1);
        drop(progress);
        let thread = hash.hash_one(record.key()) as usize % THREADS;
        threads[thread].send((partition, offset))?;
    }
    // Leaving revokes everything: that finishes and commits.
    consumer.unsubscribe();
    let until = Instant::now() + FINISH;
    while Instant::now() < until && consumer.assignment().is_ok_and(|assigned| assigned.count() > 0) {
        consumer.poll(Duration::from_millis(10));
    }
    Ok(())
}

/// A thread that handles its keys' records one after another.
fn work(shared: &Shared, handler: Duration) -> Sender<(i32, i64)> {
    let (tx, rx) = channel();
    let shared = shared.clone();
    std::thread::spawn(move || {
        for (partition, offset) in rx {
            std::thread::sleep(handler);
            shared.ended(partition, offset);
        }
    });
    tx
}

/// Sets the flag when the process is asked to end.
fn signal_hook(stop: &Arc<AtomicBool>) -> Result<(), Box<dyn Error>> {
    use nix::sys::signal::{SigSet, Signal};
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.thread_block()?;
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        if ends.wait().is_ok() {
            stop.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}
