//! The contenders. Each is an ordinary pinned dependency, set up as its own documentation advises: once with
//! its defaults and once tuned for this work; both are shown.

pub mod bare;
pub mod gkes;
pub mod group;
pub mod ours;
mod parallel_consumer;
mod streamback;

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use keyweir_e2e::cache::CacheError;
use keyweir_e2e::process::ProcessError;
use serde::{Deserialize, Serialize};

use crate::child::Task;
use crate::dataset::Format;
use crate::plan::Aim;

/// The word for a member of a consumer group, started by [`crate::moves`].
pub const GROUP: &str = "group";

/// Why a contender could not be built.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It could not be kept.
    #[error("failed to keep what was built")]
    Keep(#[source] CacheError),
    /// Its sources could not be written.
    #[error("failed to write the sources")]
    Sources(#[source] io::Error),
    /// Its tool chain failed.
    #[error("failed to build")]
    Build(#[source] ProcessError),
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerName {
    /// Our engine with a handler compiled in.
    Ours,
    /// A bare rdkafka loop without concurrency: what the client itself can do.
    Bare,
    /// Go Kafka Event Source 1.0.6.
    Gkes,
    /// Confluent Parallel Consumer 0.5.3.3.
    ParallelConsumer,
    /// Streamback 0.5.1.
    Streamback,
}

impl PeerName {
    /// All, in the order of the tables.
    pub const ALL: [PeerName; 5] =
        [PeerName::Ours, PeerName::Bare, PeerName::Gkes, PeerName::ParallelConsumer, PeerName::Streamback];

    /// True for those that need a tool chain of their own.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        !matches!(self, PeerName::Ours | PeerName::Bare)
    }
}

/// A peer in one set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    /// Who.
    pub peer: PeerName,
    /// Which of its set-ups, as its module knows it.
    pub setting: &'static str,
    /// Records, threads or processes at once.
    pub concurrency: u32,
}

const fn contender(peer: PeerName, setting: &'static str, concurrency: u32) -> Contender {
    Contender { peer, setting, concurrency }
}

const CONTENDERS: [Contender; 15] = [
    contender(PeerName::Ours, "default", 1000),
    contender(PeerName::Ours, "default", 64),
    contender(PeerName::Ours, "http", 1000),
    contender(PeerName::Ours, "http-batch", 1000),
    contender(PeerName::Bare, "default", 1),
    contender(PeerName::Bare, "tuned", 1),
    contender(PeerName::Gkes, "default", 1000),
    contender(PeerName::Gkes, "tuned", 1000),
    contender(PeerName::Gkes, "default", 64),
    contender(PeerName::ParallelConsumer, "vertx", 1000),
    contender(PeerName::ParallelConsumer, "vertx-tuned", 1000),
    contender(PeerName::ParallelConsumer, "core", 1000),
    contender(PeerName::ParallelConsumer, "core", 64),
    contender(PeerName::Streamback, "default", 1),
    contender(PeerName::Streamback, "tuned", 8),
];

/// The set-ups of the named peers.
pub fn contenders(peers: &[PeerName]) -> impl Iterator<Item = Contender> {
    CONTENDERS.into_iter().filter(|contender| peers.contains(&contender.peer))
}

impl Contender {
    /// What reads the same records at the same time where latencies are measured.
    pub const CONTROL: Contender = contender(PeerName::Bare, "default", 1);

    /// A bare loop has no handler to wait for, nor do the rows where a web service is the handler; streamback is
    /// left out where it can't keep up.
    #[must_use]
    pub fn takes_part(&self, handler: Duration, aim: Aim) -> bool {
        match (self.peer, aim) {
            (PeerName::Bare, Aim::Rate) => handler.is_zero(),
            (PeerName::Bare, Aim::Latency) => self.setting == "default",
            (PeerName::Streamback, Aim::Latency) => false,
            (PeerName::Ours, _) if self.setting != "default" => handler.is_zero() && aim == Aim::Rate,
            (_, Aim::Latency) => self.concurrency != 64,
            (_, Aim::Rate) => true,
        }
    }

    /// What it is called in tables.
    #[must_use]
    pub fn title(&self) -> String {
        let unit = match self.peer {
            PeerName::Bare => return format!("bare rdkafka loop, {}", self.setting),
            PeerName::Streamback if self.concurrency == 1 => "process",
            PeerName::Streamback => "processes",
            PeerName::ParallelConsumer if self.setting == "core" => "threads",
            _ => "at once",
        };
        let name = match self.peer {
            PeerName::Ours => "keyweir",
            PeerName::Gkes => "GKES 1.0.6",
            PeerName::ParallelConsumer => "Parallel Consumer 0.5.3.3",
            PeerName::Bare | PeerName::Streamback => "streamback 0.5.1",
        };
        format!("{name}, {}, {} {unit}", self.setting, self.concurrency)
    }

    /// How its records must be written.
    #[must_use]
    pub fn format(&self) -> Format {
        if self.peer == PeerName::Streamback { Format::Envelope } else { Format::Plain }
    }

    /// The command that runs it.
    ///
    /// # Errors
    /// When it can't be built.
    pub fn command(&self, task: &Task) -> Result<Command, PeerError> {
        match self.peer {
            PeerName::Ours => ours::command(self, task),
            PeerName::Bare => bare::command(self, task),
            PeerName::Gkes => gkes::command(self, task),
            PeerName::ParallelConsumer => parallel_consumer::command(self, task),
            PeerName::Streamback => streamback::command(self, task),
        }
    }
}

/// A file of a peer that is part of this program.
type Source = (&'static str, &'static str);

/// Writes `sources` to a cached directory and builds there once.
fn built(
    name: &str,
    sources: &[Source],
    build: impl FnOnce(&std::path::Path) -> Result<(), PeerError>,
) -> Result<PathBuf, PeerError> {
    let texts: Vec<&str> = sources.iter().map(|(_, text)| *text).collect();
    let entry = format!("bench-{name}-{}", keyweir_e2e::cache::key(&texts));
    keyweir_e2e::cache::once(&entry, |dir| {
        for (file, text) in sources {
            std::fs::write(dir.join(file), text).map_err(PeerError::Sources)?;
        }
        eprintln!("building {name} (once)");
        build(dir)
    })
    .map_err(PeerError::Keep)
}

/// Runs one step of a build.
fn step(mut command: Command, dir: &std::path::Path) -> Result<(), PeerError> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.current_dir(dir);
    keyweir_e2e::process::run(&name, command).map(|_| ()).map_err(PeerError::Build)
}
