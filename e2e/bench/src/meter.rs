//! What a contender counts: records, the order of each key, handlers at once, how long they took. One meter
//! a process; the other languages' contenders count in the same way.
//!
//! Each key's records carry a number that grows by one. A record is out of order when its number is not the
//! next one of its key, or when another one of the key is still being handled.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::child::{Said, Task};
use crate::dataset::{self, KEYS};

/// Counts for one process.
#[derive(Debug)]
pub struct Meter {
    task: Task,
    first: OnceLock<Instant>,
    next: Vec<AtomicU64>,
    busy: Vec<AtomicU32>,
    begun: AtomicU64,
    ended: AtomicU64,
    most: AtomicU64,
    violations: AtomicU64,
    handler_nanoseconds: AtomicU64,
    latencies: Mutex<Vec<u64>>,
    full: AtomicBool,
}

/// A record whose handler runs.
#[derive(Debug)]
pub struct Begun {
    key: usize,
    number: u64,
    at: Option<Instant>,
}

impl Meter {
    /// A meter, and a thread that reports when the window is over.
    #[must_use]
    pub fn start(task: &Task) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            task: task.clone(),
            first: OnceLock::new(),
            next: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            busy: (0..KEYS).map(|_| AtomicU32::new(0)).collect(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            most: AtomicU64::new(0),
            violations: AtomicU64::new(0),
            handler_nanoseconds: AtomicU64::new(0),
            latencies: Mutex::new(Vec::new()),
            full: AtomicBool::new(false),
        });
        let watched = Arc::clone(&meter);
        std::thread::spawn(move || watched.watch());
        meter
    }

    /// A handler begins with a record.
    pub fn begin(&self, key: &[u8], value: &[u8]) -> Begun {
        let (key, number) = (dataset::key_number(key), dataset::number(value));
        let alone = self.busy[key].fetch_add(1, Relaxed) == 0;
        if !alone || self.next[key].load(Relaxed) != number {
            self.violations.fetch_add(1, Relaxed);
        }
        let begun = self.begun.fetch_add(1, Relaxed) + 1;
        if begun == 1 {
            self.first.get_or_init(Instant::now);
        }
        self.most.fetch_max(begun - self.ended.load(Relaxed).min(begun), Relaxed);
        if !self.task.warm_up.is_zero() {
            self.note_latency(value);
        }
        let at = (!self.task.handler.is_zero()).then(Instant::now);
        Begun { key, number, at }
    }

    /// The handler is done with it.
    pub fn end(&self, begun: &Begun) {
        if let Some(at) = begun.at {
            self.handler_nanoseconds.fetch_add(at.elapsed().as_nanos() as u64, Relaxed);
        }
        self.next[begun.key].store(begun.number + 1, Relaxed);
        self.busy[begun.key].fetch_sub(1, Relaxed);
        self.ended.fetch_add(1, Relaxed);
    }

    fn note_latency(&self, value: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let warm = self.first.get().is_some_and(|first| first.elapsed() > self.task.warm_up);
        if warm && !self.full.load(Relaxed) {
            let late = now.saturating_sub(dataset::produced_at(value));
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(late);
        }
    }

    /// Sleeps through the window, then says what was counted.
    fn watch(&self) {
        let first = loop {
            match self.first.get() {
                Some(first) => break *first,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        println!("{{\"started\":true}}");
        let (mut half, mut halved) = (0, false);
        loop {
            let (elapsed, ended) = (first.elapsed(), self.ended.load(Relaxed));
            if !halved && elapsed >= self.task.window / 2 {
                (half, halved) = (ended, true);
            }
            if elapsed >= self.task.window || self.task.records > 0 && ended >= self.task.records {
                return self.say(elapsed, ended, half);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn say(&self, elapsed: Duration, ended: u64, half: u64) {
        self.full.store(true, Relaxed);
        let mut latencies =
            std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1e3;
        let said = Said {
            records: ended,
            seconds: elapsed.as_secs_f64(),
            second_half: ended - half,
            violations: self.violations.load(Relaxed),
            most_at_once: self.most.load(Relaxed),
            handler_ms: self.handler_nanoseconds.load(Relaxed) as f64 / 1e6 / (ended.max(1) as f64),
            latency_ms: (!latencies.is_empty()).then(|| [at(0.5), at(0.99), at(1.0)]),
        };
        match serde_json::to_string(&said) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("{error}"),
        }
    }
}
