//! Why a fleet can't do what a test wants.

use std::io;

use crate::kafka::KafkaError;
use crate::process::ProcessError;
use crate::wait;

/// Why a fleet can't do what a test wants.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Files or ports could not be had.
    #[error("failed to prepare the fleet")]
    Prepare(#[source] io::Error),
    /// The cluster refused.
    #[error("failed to ask the broker")]
    Kafka(#[source] KafkaError),
    /// A program could not be started, signalled or stopped; or it ended by itself.
    #[error("failed to control a program of the fleet")]
    Process(#[source] ProcessError),
    /// What was waited for did not come.
    #[error("failed to wait for the fleet: {state}")]
    Late {
        /// What was waited for.
        #[source]
        source: wait::TimedOut,
        /// How it stood instead.
        state: String,
    },
    /// A program said something that is no JSON.
    #[error("failed to understand what {program} said: {said}")]
    Answer {
        /// Which program.
        program: &'static str,
        /// What it said.
        said: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A worker that was asked to end did not end well.
    #[error("failed to end worker {worker} in order: {status}; its last lines:\n{log}")]
    Unclean {
        /// Which worker.
        worker: usize,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its log.
        log: String,
    },
}
