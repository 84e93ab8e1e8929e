//! `keyweir send`: records from a file or standard input into a topic.
//!
//! ```text
//! records.rs ──▶ batches ──┬─▶ the embedded log, opened here      while no process has it open
//!                          ├─▶ the process that has it open       through its socket
//!                          └─▶ Kafka                              with --bootstrap-servers
//! ```

mod expected;
mod target;

use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use keyweir_worker::NewRecord;

use crate::args::SendArgs;
use crate::records::{Records, RecordsError};
use crate::{exit, say};
pub(crate) use expected::Sent;
use expected::{Expected, ExpectedError};
use target::{Target, TargetError};

/// Records of one batch at most.
const BATCH: usize = 1_000;
/// Batches a second when a rate is kept.
const STEPS: u32 = 20;

/// A setting of the Kafka client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?}: want NAME=VALUE"))?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Why not everything was sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// There are no more records.
    #[error(transparent)]
    Records(RecordsError),
    /// They can't be written.
    #[error(transparent)]
    Target(TargetError),
    /// What was written can't be noted.
    #[error(transparent)]
    Expected(ExpectedError),
}

pub(crate) async fn send(args: SendArgs) -> ExitCode {
    let began = Instant::now();
    let mut sent = 0;
    let outcome = all(&args, &mut sent).await;
    let seconds = began.elapsed().as_secs_f64();
    say::err(format_args!("sent {sent} records to {} in {seconds:.1} s", args.topic));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failed(&error),
    }
}

async fn all(args: &SendArgs, sent: &mut usize) -> Result<(), SendError> {
    let records = Records::open(&args.file, args.format, args.key_from.clone()).await;
    let mut records = records.map_err(SendError::Records)?;
    let mut expected = args.log.as_deref().map(Expected::open).transpose().map_err(SendError::Expected)?;
    let target = Target::open(args).await.map_err(SendError::Target)?;
    let began = Instant::now();
    let most = args.rate.map_or(BATCH, |rate| (rate / STEPS).max(1) as usize);
    loop {
        let batch = records.next(most).await.map_err(SendError::Records)?;
        if batch.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = batch.iter().map(|record: &NewRecord| record.key.clone()).collect();
        let places = target.write(&args.topic, batch).await.map_err(SendError::Target)?;
        if let Some(expected) = &mut expected {
            expected.note(&args.topic, &keys, &places).map_err(SendError::Expected)?;
        }
        *sent += places.len();
        if let Some(rate) = args.rate {
            let due = Duration::from_secs_f64(*sent as f64 / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_a_name_and_a_value() {
        let pair: Pair = "linger.ms=5".parse().expect("a pair");
        assert_eq!((pair.name.as_str(), pair.value.as_str()), ("linger.ms", "5"));
        assert!("linger.ms".parse::<Pair>().is_err());
    }
}
