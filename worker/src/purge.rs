//! `keyweir-worker purge`: removes what a deleted object leaves: checkpoints and parked records.
//!
//! In etcd only what the object of that very uid has written, and only once none of its members lives. What lies in a
//! data directory goes with its volume.

use std::process::ExitCode;

use keyweir_contract::WorkerConfig;
use keyweir_contract::keys::Key;
use keyweir_contract::source::Source;
use keyweir_contract::worker_config::LogLevel;
use keyweir_engine::error_chain;
use keyweir_engine::ownership::values::{ObjectValue, read};
use keyweir_engine::ports::{Committed, Entry, Guard, MAX_OPERATIONS, SourceError, StoreError, Transaction};
use keyweir_kafka::Connection;

use crate::args::PurgeArgs;
use crate::config;
use crate::missing::missing;
use crate::telemetry;
use crate::wiring::{self, Fleet};

/// Why something is left. The whole may be tried again.
#[derive(Debug, thiserror::Error)]
enum PurgeError {
    /// Members would write again what is deleted.
    #[error("failed to purge: {members} members still live")]
    Alive { members: usize },
    /// Somebody wrote while it was deleted.
    #[error("failed to purge: the object was changed meanwhile")]
    Changed,
    #[error("failed to purge: {lack}")]
    Missing { lack: String },
    #[error("failed to purge what lies in etcd")]
    Store(#[source] StoreError),
    #[error("failed to purge what lies in the source")]
    Source(#[source] SourceError),
}

/// Purges once. Exit code 0 = nothing is left, 1 = try again, 2 = bad configuration.
pub(crate) async fn run(args: PurgeArgs) -> ExitCode {
    telemetry::init(LogLevel::Info);
    let config = match config::read(&args.config) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(error = error_chain(&error), "the configuration can't be used");
            return ExitCode::from(2);
        }
    };
    match purge(&config).await {
        Ok(()) => {
            tracing::info!("nothing is left");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = error_chain(&error), "something is left");
            ExitCode::FAILURE
        }
    }
}

async fn purge(config: &WorkerConfig) -> Result<(), PurgeError> {
    if let Some(lack) = missing(config.files()).into_iter().next() {
        return Err(PurgeError::Missing { lack: lack.text });
    }
    let ours = match wiring::fleet(config) {
        Some(fleet) => purge_store(&fleet, &config.object.uid).await?,
        None => true,
    };
    match &config.fixed.source {
        Source::Kafka(kafka) if ours => {
            let connection = Connection::new(kafka.endpoint.clone(), "keyweir-purge");
            keyweir_kafka::purge(&connection, &kafka.group).await.map_err(PurgeError::Source)
        }
        _ => Ok(()),
    }
}

/// Says whether it was this object's. One of the same name that was made since keeps what it has.
async fn purge_store(fleet: &Fleet, uid: &str) -> Result<bool, PurgeError> {
    let Fleet { store, prefix, .. } = fleet;
    let listing = store.list(prefix.as_str()).await.map_err(PurgeError::Store)?;
    let object_key = prefix.key(&Key::Object);
    let Some(object) = listing.entries.iter().find(|entry| entry.key == object_key) else {
        // It never began, or the rest of it was purged before.
        return Ok(listing.entries.is_empty());
    };
    if read::<ObjectValue>(&object.value).is_none_or(|value| value.uid != uid) {
        tracing::warn!("what lies in etcd belongs to another object of that name and stays");
        return Ok(false);
    }
    let members = [prefix.members(), prefix.ordinals()];
    let is_member = |entry: &&Entry| members.iter().any(|place| entry.key.starts_with(place));
    let alive = listing.entries.iter().filter(is_member).count();
    if alive > 0 {
        return Err(PurgeError::Alive { members: alive });
    }
    // The object's own key last: as long as it stands, another try knows whose the rest is.
    let rest: Vec<&Entry> = listing.entries.iter().filter(|entry| entry.key != object_key).collect();
    let unchanged = || Transaction::new().when(Guard::Written(object_key.clone(), object.mod_revision));
    let batches = rest.chunks(MAX_OPERATIONS).map(|batch| {
        batch.iter().fold(unchanged(), |transaction, entry| transaction.delete(entry.key.clone()))
    });
    for transaction in batches.chain([unchanged().delete(object_key.clone())]) {
        match store.commit(transaction).await.map_err(PurgeError::Store)? {
            Committed::Done { .. } => {}
            Committed::Refused { .. } => return Err(PurgeError::Changed),
        }
    }
    Ok(true)
}
