//! Watches: changes of a prefix from a revision on, until anything goes wrong. Up: the [crate](crate).

use etcd_client::{Client, Event, EventType, WatchOptions, WatchResponse, WatchStream};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use keyweir_engine::ports::{Change, Changes, StoreError};

use crate::client::Connection;
use crate::convert;
use crate::error::store_error;
use crate::lease_store::LARGEST_ANSWER;

const ACT: &str = "watch keys";

/// The server ended the watch.
#[derive(Debug, thiserror::Error)]
#[error("failed to go on watching: {reason}")]
struct Ended {
    reason: String,
}

enum State {
    Closed { connection: Connection, prefix: String },
    Open(WatchStream),
    Over,
}

/// Changes from a revision on. The first error is the last item.
pub(crate) fn watch(
    connection: Connection,
    prefix: String,
    from: u64,
) -> BoxStream<'static, Result<Changes, StoreError>> {
    stream::unfold(State::Closed { connection, prefix }, move |state| async move {
        let opened = match state {
            State::Over => return None,
            State::Open(stream) => Ok(stream),
            State::Closed { connection, prefix } => open(&connection, prefix, from).await,
        };
        Some(match opened {
            Ok(mut stream) => match next(&mut stream, from).await {
                Ok(changes) => (Ok(changes), State::Open(stream)),
                Err(error) => (Err(error), State::Over),
            },
            Err(error) => (Err(error), State::Over),
        })
    })
    .boxed()
}

async fn open(connection: &Connection, prefix: String, from: u64) -> Result<WatchStream, StoreError> {
    let options = WatchOptions::new().with_prefix().with_start_revision(convert::signed(from));
    let open = async |client: Client| {
        let mut client = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
        client.watch(prefix, Some(options)).await
    };
    connection.call(ACT, from, open).await
}

/// The next changes; news without changes are passed over.
async fn next(stream: &mut WatchStream, from: u64) -> Result<Changes, StoreError> {
    loop {
        let told = stream.message().await.map_err(|error| store_error(ACT, from, None, error))?;
        let Some(told) = told else {
            return Err(ended("the stream is closed"));
        };
        if told.compact_revision() > 0 {
            return Err(StoreError::Compacted { from });
        }
        if told.canceled() {
            return Err(ended(told.cancel_reason()));
        }
        if let Some(changes) = changes(&told) {
            return Ok(changes);
        }
    }
}

/// What one answer tells. Its header may be ahead of its events while a watch catches up: the last event counts.
fn changes(told: &WatchResponse) -> Option<Changes> {
    let changes: Vec<Change> = told.events().iter().filter_map(change).collect();
    let revision = told.events().last()?.kv().map(|kv| convert::revision(kv.mod_revision()))?;
    Some(Changes { revision, changes })
}

fn change(event: &Event) -> Option<Change> {
    let entry = convert::entry(event.kv()?);
    Some(match event.event_type() {
        EventType::Put => Change::Put(entry),
        EventType::Delete => Change::Deleted { key: entry.key, revision: entry.mod_revision },
    })
}

fn ended(reason: &str) -> StoreError {
    StoreError::Unreachable { act: ACT, source: Ended { reason: reason.to_owned() }.into() }
}
