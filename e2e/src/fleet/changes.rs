//! Changes of a crew under load, and what each costs: one sequence for our workers and for whoever is compared
//! with them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::load::unix_millis;
use super::{Fleet, FleetError, Latencies, Sent, Timeline};

/// How long after a change its records still count, and what lies between two changes.
const AFTERWARDS: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(500);

/// Processes that share the partitions of one topic, whoever wrote them.
pub trait Crew {
    /// Starts a process; it need not work yet. Gives its number.
    ///
    /// # Errors
    /// When it can't be started.
    fn start(&mut self) -> Result<usize, FleetError>;

    /// Asks one to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not end in order.
    fn leave(&mut self, number: usize) -> Result<(), FleetError>;

    /// Kills one (SIGKILL).
    ///
    /// # Errors
    /// When it can't be waited for.
    fn kill9(&mut self, number: usize) -> Result<(), FleetError>;

    /// Freezes one (SIGSTOP).
    ///
    /// # Errors
    /// When it can't be signalled.
    fn freeze(&mut self, number: usize) -> Result<(), FleetError>;

    /// Lets a frozen one go on (SIGCONT).
    ///
    /// # Errors
    /// When it can't be signalled.
    fn thaw(&mut self, number: usize) -> Result<(), FleetError>;

    /// Those that run, oldest first.
    fn numbers(&self) -> Vec<usize>;

    /// Waits until every one that runs has its share of the work.
    ///
    /// # Errors
    /// When it does not come to that.
    fn settle(&mut self) -> Result<(), FleetError>;

    /// The event logs of all of them, those that are gone included.
    fn logs(&self) -> Vec<PathBuf>;
}

impl Crew for Fleet {
    fn start(&mut self) -> Result<usize, FleetError> {
        Fleet::start(self)
    }

    fn leave(&mut self, number: usize) -> Result<(), FleetError> {
        Fleet::leave(self, number)
    }

    fn kill9(&mut self, number: usize) -> Result<(), FleetError> {
        Fleet::kill9(self, number)
    }

    fn freeze(&mut self, number: usize) -> Result<(), FleetError> {
        Fleet::freeze(self, number)
    }

    fn thaw(&mut self, number: usize) -> Result<(), FleetError> {
        Fleet::thaw(self, number)
    }

    fn numbers(&self) -> Vec<usize> {
        self.running().collect()
    }

    fn settle(&mut self) -> Result<(), FleetError> {
        Fleet::settle(self)
    }

    fn logs(&self) -> Vec<PathBuf> {
        Fleet::event_logs(self)
    }
}

/// One change, and from when to when its records count.
#[derive(Debug)]
struct Change {
    name: &'static str,
    from: u64,
    to: u64,
}

/// A crew and the changes that it has been through.
#[derive(Debug)]
pub struct Trial<C> {
    /// The crew.
    pub crew: C,
    changes: Vec<Change>,
}

/// What one kind of change costs: the worst of its rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// The change.
    pub name: &'static str,
    /// Times are the worst of all rounds, records their sum.
    pub latencies: Latencies,
}

impl<C: Crew> Trial<C> {
    /// A trial of a crew that has settled.
    pub fn of(crew: C) -> Self {
        Self { crew, changes: Vec::new() }
    }

    /// Makes a change under load; its records are those sent from its beginning until a second after its end.
    ///
    /// # Errors
    /// When the change fails or the crew does not settle.
    pub fn change(
        &mut self,
        name: &'static str,
        make: impl FnOnce(&mut C) -> Result<(), FleetError>,
    ) -> Result<(), FleetError> {
        let from = unix_millis();
        make(&mut self.crew)?;
        std::thread::sleep(AFTERWARDS);
        self.changes.push(Change { name, from, to: unix_millis() });
        // Its last records are handled before the next change meets them.
        std::thread::sleep(BETWEEN);
        self.crew.settle()
    }

    /// No change at all: the noise of the machine.
    ///
    /// # Errors
    /// When the crew does not settle.
    pub fn steady(&mut self) -> Result<(), FleetError> {
        self.change("steady", |_| {
            std::thread::sleep(Duration::from_secs(5));
            Ok(())
        })
    }

    /// One joins, one leaves, all are replaced one after another.
    ///
    /// # Errors
    /// When a change fails or the crew does not settle.
    pub fn planned(&mut self) -> Result<(), FleetError> {
        self.change("join", |crew| crew.start().and_then(|_| crew.settle()))?;
        self.change("graceful leave", |crew| {
            if let Some(oldest) = crew.numbers().first() {
                crew.leave(*oldest)?;
            }
            crew.settle()
        })?;
        self.change("rolling replacement of all", |crew| {
            for old in crew.numbers() {
                crew.start()?;
                crew.settle()?;
                crew.leave(old)?;
            }
            Ok(())
        })
    }

    /// One is killed, another takes its place, one is frozen. `noticed` = when at the latest the others take over.
    ///
    /// # Errors
    /// When a change fails or the crew does not settle.
    pub fn unplanned(&mut self, noticed: Duration) -> Result<(), FleetError> {
        self.change("kill -9", |crew| {
            if let Some(victim) = crew.numbers().first() {
                crew.kill9(*victim)?;
            }
            std::thread::sleep(noticed);
            crew.settle()
        })?;
        self.crew.start()?;
        self.crew.settle()?;
        self.change("SIGSTOP for 20 s", |crew| {
            let Some(frozen) = crew.numbers().first().copied() else {
                return Ok(());
            };
            crew.freeze(frozen)?;
            std::thread::sleep(Duration::from_secs(20));
            crew.thaw(frozen)?;
            crew.settle()
        })
    }

    /// When records ended and shards moved, by the event logs of all.
    ///
    /// # Errors
    /// When the event logs can't be read.
    pub fn timeline(&self) -> io::Result<Timeline> {
        Timeline::read(&self.crew.logs())
    }

    /// What each kind of change has cost, in the order in which they first came.
    #[must_use]
    pub fn costs(&self, timeline: &Timeline, sent: &[Sent]) -> Vec<Cost> {
        let mut costs: Vec<Cost> = Vec::new();
        for Change { name, from, to } in &self.changes {
            let found = timeline.latencies(sent, *from, *to);
            match costs.iter_mut().find(|cost| cost.name == *name) {
                Some(cost) => cost.latencies.worsen(&found),
                None => costs.push(Cost { name, latencies: found }),
            }
        }
        costs
    }
}

/// Costs as a table in Markdown.
#[derive(Debug)]
pub struct CostTable<'a>(pub &'a [Cost]);

impl fmt::Display for CostTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| change | records | p50 ms | p99 ms | longest stall of a key, ms | of a key that did not move, ms |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|")?;
        for Cost { name, latencies } in self.0 {
            let Latencies { records, p50, p99, longest, longest_unmoved, .. } = latencies;
            writeln!(f, "| {name} | {records} | {p50} | {p99} | {longest} | {longest_unmoved} |")?;
        }
        Ok(())
    }
}
