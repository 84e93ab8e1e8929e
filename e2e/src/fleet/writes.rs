//! A steady load on a path of etcd: keys that change, one a transaction, at a rate, until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::load::{Sent, unix_millis};
use crate::etcd::{PUT, put_body, revision_of};
use crate::http::http;

/// How long to wait before a change is tried again that the server did not take.
const AGAIN: Duration = Duration::from_millis(100);

/// Writes on their way to a path. Dropping it stops it.
#[derive(Debug)]
pub struct Writes {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<Vec<Sent>>>,
}

impl Writes {
    pub(super) fn start(endpoint: &str, path: &str, slots: u32, per_second: u32, keys: u32) -> Writes {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (address, path) = (endpoint.trim_start_matches("http://").to_owned(), path.to_owned());
        let sender = std::thread::spawn(move || {
            let began = Instant::now();
            let mut sent = Vec::new();
            for number in 0u64.. {
                let due = Duration::from_micros(number * 1_000_000 / u64::from(per_second));
                std::thread::sleep(due.saturating_sub(began.elapsed()));
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("{path}/key-{}", number.wrapping_mul(7919) % u64::from(keys));
                let at = unix_millis();
                // A change whose answer is lost may have happened; it is not among what was sent.
                match put(&address, &key, &number.to_string()) {
                    Some(revision) => {
                        let partition = i32::try_from(slot_of(&key, slots)).unwrap_or(0);
                        sent.push(Sent { key, partition, offset: revision << 20, at });
                    }
                    None => std::thread::sleep(AGAIN),
                }
            }
            sent
        });
        Writes { stop, sender: Some(sender) }
    }

    /// Stops, and gives what was acknowledged.
    ///
    /// # Panics
    /// When the sending thread has panicked.
    #[must_use]
    pub fn finish(mut self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let sender = self.sender.take();
        sender.map(|sender| sender.join().expect("the writes do not panic")).unwrap_or_default()
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes a key through etcd's own gateway; gives the revision.
fn put(address: &str, key: &str, value: &str) -> Option<i64> {
    let (status, answer) = http(address, "POST", PUT, &put_body(key, value).to_string()).ok()?;
    let answer: Value = serde_json::from_str(&answer).ok().filter(|_| status == 200)?;
    revision_of(&answer)
}

/// The slot of a key, by the rule that checkpoints depend on: FNV-1a, both halves, modulo.
fn slot_of(key: &str, slots: u32) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ hash >> 32) % u64::from(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same keys stand in the worker's own test.
    #[test]
    fn a_keys_slot_is_the_workers() {
        assert_eq!(["/shop/a", "/shop/b", "/shop/orders/17"].map(|key| slot_of(key, 64)), [61, 48, 11]);
    }
}
