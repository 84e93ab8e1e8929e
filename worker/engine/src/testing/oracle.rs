//! The oracle: an observer that remembers what began and ended, and judges it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use keyweir_core::{Fence, Offset, ShardId};

use crate::outcome::Verdict;
use crate::ports::{Observer, RecordEvent, ShardEvent};
use crate::record::Record;

/// Remembers a run. Cheap to clone; all clones are one memory, so that it survives the pump it observes.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    memory: Arc<Mutex<Memory>>,
    /// Whose hooks these are, where several processes are observed.
    process: usize,
}

/// Something for each key of each shard.
type PerKey<T> = HashMap<(ShardId, Vec<u8>), T>;

#[derive(Debug, Default)]
struct Memory {
    records: HashMap<(ShardId, Offset), Life>,
    /// Offsets of a key that began, in order, with the fence.
    begun: PerKey<Vec<(Fence, Offset)>>,
    /// What executes of a key, and in which process.
    executing: PerKey<Vec<(usize, Offset)>>,
    violations: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    begun: u32,
    done: u32,
    gone: bool,
}

impl Oracle {
    /// What was wrong: order violations and keys in two hands.
    pub fn violations(&self) -> Vec<String> {
        self.locked().violations.clone()
    }

    /// How often a record's handling ended with `Done`.
    pub fn done(&self, shard: &ShardId, offset: Offset) -> u32 {
        self.locked().records.get(&(shard.clone(), offset)).map_or(0, |life| life.done)
    }

    /// How often a record was given to a handler.
    pub fn begun(&self, shard: &ShardId, offset: Offset) -> u32 {
        self.locked().records.get(&(shard.clone(), offset)).map_or(0, |life| life.begun)
    }

    /// Whether it was said that a record is gone from the log.
    pub fn is_gone(&self, shard: &ShardId, offset: Offset) -> bool {
        self.locked().records.get(&(shard.clone(), offset)).is_some_and(|life| life.gone)
    }

    /// The hooks of one of several processes, with the same memory.
    #[must_use]
    pub fn of_process(&self, process: usize) -> Self {
        Self { memory: Arc::clone(&self.memory), process }
    }

    /// What was executing died with its process.
    pub fn crashed(&self) {
        for executing in self.locked().executing.values_mut() {
            executing.retain(|(process, _)| *process != self.process);
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn begin(&mut self, shard: &ShardId, fence: Fence, key: &[u8], (process, offset): (usize, Offset)) {
        let key = (shard.clone(), key.to_vec());
        let executing = self.executing.entry(key.clone()).or_default();
        for (other_process, other) in executing.iter() {
            let violation = format!(
                "{shard}: {offset} began in process {process} while {other} of its key was executing in {other_process}"
            );
            self.violations.push(violation);
        }
        executing.push((process, offset));
        let begun = self.begun.entry(key).or_default();
        if let Some((last_fence, last)) = begun.last()
            && *last > offset
            && *last_fence >= fence
        {
            self.violations.push(format!("{shard}: {offset} began after {last} under the same fence"));
        }
        begun.push((fence, offset));
    }
}

impl Observer for Oracle {
    fn record(
        &mut self,
        shard: &Arc<ShardId>,
        fence: Fence,
        key: Option<&[u8]>,
        record: &Record,
        event: RecordEvent<'_>,
    ) {
        let mut memory = self.locked();
        let place = ((**shard).clone(), record.offset);
        match event {
            RecordEvent::Polled { .. } | RecordEvent::SetAside(_) => {}
            RecordEvent::Started(_) => {
                memory.records.entry(place).or_default().begun += 1;
                if let Some(key) = key {
                    memory.begin(shard, fence, key, (self.process, record.offset));
                }
            }
            RecordEvent::Ended(_, verdict) => {
                if let Some(key) = key {
                    let executing = memory.executing.entry(((**shard).clone(), key.to_vec())).or_default();
                    executing.retain(|ended| *ended != (self.process, record.offset));
                }
                if verdict == Some(&Verdict::Done) {
                    memory.records.entry(place).or_default().done += 1;
                }
            }
        }
    }

    fn gone(&mut self, shard: &Arc<ShardId>, _: Fence, _: Option<&[u8]>, offset: Offset) {
        self.locked().records.entry(((**shard).clone(), offset)).or_default().gone = true;
    }

    fn shard(&mut self, _: &Arc<ShardId>, _: Fence, _: ShardEvent) {}
}
