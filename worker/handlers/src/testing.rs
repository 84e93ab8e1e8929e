//! Requests made by hand: a handler's test needs no broker, no worker and no cluster.
//!
//! ```
//! use keyweir_handlers::testing::Draft;
//!
//! let request = Draft::new("orders", 3, 17).key("customer-1").value(r#"{"total": 5}"#).build();
//! assert_eq!(request.record.key(), Some(&b"customer-1"[..]));
//! ```
//!
//! Up: [`crate`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keyweir_core::{Attempt, Fence, Offset, ShardId, ShardIndex};
use keyweir_engine::ports::Request;
use keyweir_engine::{Arena, Origin};

/// A request in the making: the first attempt at a record without key, value or headers, with 30 s to go.
#[derive(Debug, Clone)]
pub struct Draft {
    shard: Arc<ShardId>,
    offset: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
    attempt: u32,
    time_left: Option<Duration>,
}

impl Draft {
    /// A record at this place.
    pub fn new(topic: &str, partition: u32, offset: i64) -> Self {
        Self {
            shard: Arc::new(ShardId::new(topic, partition)),
            offset,
            key: None,
            value: None,
            headers: Vec::new(),
            attempt: 1,
            time_left: Some(Duration::from_secs(30)),
        }
    }

    /// With this key.
    #[must_use]
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        Self { key: Some(Bytes::copy_from_slice(key.as_ref())), ..self }
    }

    /// With this value.
    #[must_use]
    pub fn value(self, value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(Bytes::copy_from_slice(value.as_ref())), ..self }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(Bytes::copy_from_slice(value.as_ref()))));
        self
    }

    /// As a later attempt.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// With so much time to go; `None` = as long as it likes.
    #[must_use]
    pub fn time_left(self, time_left: Option<Duration>) -> Self {
        Self { time_left, ..self }
    }

    /// The request.
    pub fn build(&self) -> Request {
        let origin =
            Origin { shard: ShardIndex(0), offset: Offset(self.offset), timestamp: 1_700_000_000_123 };
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        Request {
            record: Arena::new().record(origin, self.key.as_deref(), self.value.as_deref(), headers),
            shard: Arc::clone(&self.shard),
            attempt: Attempt(self.attempt),
            fence: Fence::new(1, 2),
            time_left: self.time_left,
            key_hash: None,
        }
    }
}
