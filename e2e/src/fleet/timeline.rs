//! When records ended and shards moved, as a fleet's event logs say it: for latencies around a change.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use serde_json::Value;

use super::Sent;

/// What the event logs say of time, in milliseconds since the epoch.
#[derive(Debug, Default)]
pub struct Timeline {
    /// When each record was done for the first time, by partition and offset.
    done: HashMap<(i32, i64), u64>,
    /// When a shard got an owner.
    owned: Vec<(u64, i32)>,
    /// Records that were done once more, each time.
    again: usize,
}

/// End-to-end latencies of the records of a while, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    /// How many records.
    pub records: usize,
    /// Half of them took no longer.
    pub p50: u64,
    /// Of a hundred all but one took no longer.
    pub p99: u64,
    /// The longest stall of any key.
    pub longest: u64,
    /// The longest stall of a key whose shard did not move.
    pub longest_unmoved: u64,
    /// Partitions that got another owner.
    pub moved: usize,
}

impl Latencies {
    /// Takes the worse of each time, and all records.
    pub(super) fn worsen(&mut self, other: &Latencies) {
        self.records += other.records;
        self.p50 = self.p50.max(other.p50);
        self.p99 = self.p99.max(other.p99);
        self.longest = self.longest.max(other.longest);
        self.longest_unmoved = self.longest_unmoved.max(other.longest_unmoved);
        self.moved = self.moved.max(other.moved);
    }
}

impl Timeline {
    /// Reads event logs.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn read(logs: &[PathBuf]) -> io::Result<Timeline> {
        let mut timeline = Timeline::default();
        for log in logs {
            for line in BufReader::new(File::open(log)?).split(b'\n') {
                // A line that was cut off by a kill says nothing.
                if let Ok(line) = serde_json::from_slice::<Value>(&line?) {
                    timeline.take(&line);
                }
            }
        }
        Ok(timeline)
    }

    fn take(&mut self, line: &Value) -> Option<()> {
        let partition = i32::try_from(line["partition"].as_i64()?).ok()?;
        let at = line["wallMs"].as_u64()?;
        match line["step"].as_str()? {
            "owned" => self.owned.push((at, partition)),
            "ended" if line["verdict"] == "done" => {
                let place = (partition, line["offset"].as_i64()?);
                if let Some(done) = self.done.get_mut(&place) {
                    *done = at.min(*done);
                    self.again += 1;
                } else {
                    self.done.insert(place, at);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// How often a record was done that had been done before.
    #[must_use]
    pub fn done_again(&self) -> usize {
        self.again
    }

    /// How many of these records were never done.
    #[must_use]
    pub fn never_done(&self, sent: &[Sent]) -> usize {
        sent.iter().filter(|record| !self.done.contains_key(&(record.partition, record.offset))).count()
    }

    /// From the sending of a record to the end of its handler, for the records that were sent between two moments.
    #[must_use]
    pub fn latencies(&self, sent: &[Sent], from: u64, to: u64) -> Latencies {
        let moved =
            |partition: i32| self.owned.iter().any(|(at, of)| *of == partition && (from..=to).contains(at));
        let mut all = Vec::new();
        let mut longest_unmoved = 0;
        for record in sent.iter().filter(|record| (from..=to).contains(&record.at)) {
            let Some(done) = self.done.get(&(record.partition, record.offset)) else {
                continue;
            };
            let took = done.saturating_sub(record.at);
            all.push(took);
            if !moved(record.partition) {
                longest_unmoved = longest_unmoved.max(took);
            }
        }
        all.sort_unstable();
        let at = |part: usize| all.get(all.len() * part / 100).or(all.last()).copied().unwrap_or_default();
        let mut partitions: Vec<i32> = sent.iter().map(|record| record.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        Latencies {
            records: all.len(),
            p50: at(50),
            p99: at(99),
            longest: all.last().copied().unwrap_or_default(),
            longest_unmoved,
            moved: partitions.into_iter().filter(|partition| moved(*partition)).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn latencies_count_from_the_sending_to_the_first_end() {
        let mut timeline = Timeline::default();
        let line = |step: &str, partition: i32, offset: i64, at: u64| json!({"step": step, "verdict": "done", "partition": partition, "offset": offset, "wallMs": at});
        for (step, partition, offset, at) in
            [("ended", 0, 0, 110), ("ended", 0, 0, 500), ("ended", 1, 0, 190), ("owned", 1, 0, 150)]
        {
            timeline.take(&line(step, partition, offset, at));
        }
        let sent = |partition, at| Sent { key: "k".into(), partition, offset: 0, at };
        let found = timeline.latencies(&[sent(0, 100), sent(1, 105)], 100, 200);
        assert_eq!((found.records, found.longest, found.longest_unmoved, found.moved), (2, 85, 10, 1));
    }
}
