//! `Parked`: records of one object that are kept aside, in the data directory.
//!
//! A row is a JSON head (why and when) behind its length, then a [block](crate::log::block) of the one record.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::{Offset, ShardIndex, UnixMillis};
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{BlockedKey, ParkedError, ParkedId, ParkedRecord, ParkedStore};
use serde::{Deserialize, Serialize};

use crate::log::BlockError;
use crate::log::block::{Block, BlockBuilder};
use crate::store::error::StoreError;
use crate::store::{Store, keys};
use crate::writer::{Followed, Rows, Table, Writer};

/// The parked records of one object.
#[derive(Clone, Debug)]
pub struct Parked {
    object: Arc<str>,
    writer: Writer,
    followed: Followed,
}

impl Parked {
    pub(crate) fn new(object: &str, writer: Writer, followed: Followed) -> Self {
        Self { object: object.into(), writer, followed }
    }

    fn store(&self, act: &'static str) -> Result<Arc<Store>, ParkedError> {
        self.followed.view.borrow().store.clone().ok_or_else(|| failed(act)(StoreError::Closed))
    }

    fn find(&self, id: &ParkedId) -> Result<Option<ParkedRecord>, ParkedError> {
        let store = self.store("read")?;
        let key = keys::record(&self.object, &id.shard, id.offset);
        let row = store.row(&store.parked, &key).map_err(failed("read"))?;
        row.map(|row| decode(id.clone(), row).map_err(failed("read"))).transpose()
    }

    fn page(&self, after: Option<&ParkedId>, limit: usize) -> Result<Vec<ParkedRecord>, ParkedError> {
        let store = self.store("list")?;
        let object = keys::object(&self.object);
        let mut from = object.clone();
        if let Some(after) = after {
            from = keys::record(&self.object, &after.shard, after.offset);
            from.push(0);
        }
        let rows = store.parked.range(from..).map(|row| row.into_inner());
        let mut page = Vec::new();
        for row in rows.take(limit) {
            let (key, row) = row.map_err(|source| failed("list")(store.error("read", source)))?;
            if !key.starts_with(&object) {
                break;
            }
            let named = keys::parse_record(&self.object, &key).ok_or(RowError::Key);
            let (shard, offset) =
                named.map_err(|e| failed("list")(StoreError::damaged("a parked record", e)))?;
            page.push(decode(ParkedId { shard, offset }, row.into()).map_err(failed("list"))?);
        }
        Ok(page)
    }
}

/// The objects of which records are parked.
pub(crate) fn objects(followed: &Followed) -> Result<Vec<String>, ParkedError> {
    let store = followed.view.borrow().store.clone().ok_or_else(|| failed("list")(StoreError::Closed))?;
    let (mut objects, mut from) = (Vec::new(), Vec::new());
    while let Some(row) = store.parked.range(from..).next() {
        let (key, _) = row.into_inner().map_err(|source| failed("list")(store.error("read", source)))?;
        let object = keys::parse_object(&key).ok_or(RowError::Key);
        let object = object.map_err(|error| failed("list")(StoreError::damaged("a parked record", error)))?;
        from = keys::behind_object(&object);
        objects.push(object);
    }
    Ok(objects)
}

/// What a row says besides the record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    attempts: u32,
    reason: String,
    text: String,
    parked_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    /// Whether the record had a time of its own.
    timed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocks: Option<BlockedKey>,
}

/// Why a row is not a parked record.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error("failed to read the name of a parked record")]
    Key,
    #[error("failed to read the head of a parked record: it is cut short")]
    Length,
    #[error("failed to read the head of a parked record")]
    Head(#[source] serde_json::Error),
    #[error("failed to read the bytes of a parked record")]
    Block(#[source] BlockError),
}

fn encode(parked: &ParkedRecord) -> Result<Bytes, serde_json::Error> {
    let head = serde_json::to_vec(&Head {
        attempts: parked.attempts,
        reason: parked.reason.clone(),
        text: parked.text.clone(),
        parked_at: parked.parked_at,
        partition: parked.record.partition,
        timed: parked.record.timestamp.is_some(),
        blocks: parked.blocks.clone(),
    })?;
    let mut block = BlockBuilder::new(parked.id.offset);
    block.push(&parked.record, parked.record.timestamp.unwrap_or(-1));
    let mut row = BytesMut::with_capacity(4 + head.len() + block.weight());
    row.put_u32_le(head.len() as u32);
    row.put_slice(&head);
    row.put_slice(&block.finish());
    Ok(row.freeze())
}

fn decode(id: ParkedId, row: Bytes) -> Result<ParkedRecord, StoreError> {
    let name = id.to_string();
    decode_row(id, row).map_err(|source| StoreError::damaged(name, source))
}

fn decode_row(id: ParkedId, mut row: Bytes) -> Result<ParkedRecord, RowError> {
    let length = row.try_get_u32_le().map_err(|_| RowError::Length)? as usize;
    if row.len() < length {
        return Err(RowError::Length);
    }
    let head: Head = serde_json::from_slice(&row.split_to(length)).map_err(RowError::Head)?;
    let mut record = NewRecord::default();
    let block = Block::parse(row).map_err(RowError::Block)?;
    let read = block.records(ShardIndex(0), Offset(i64::MIN), |found| record = NewRecord::from(&found));
    read.map_err(RowError::Block)?;
    record.partition = head.partition;
    if !head.timed {
        record.timestamp = None;
    }
    let Head { attempts, reason, text, parked_at, blocks, .. } = head;
    Ok(ParkedRecord { id, record, attempts, reason, text, parked_at, blocks })
}

fn failed(act: &'static str) -> impl Fn(StoreError) -> ParkedError + Clone {
    move |source| ParkedError { act, source: Box::new(source) }
}

impl ParkedStore for Parked {
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkedError>> {
        let key = keys::record(&self.object, &record.id.shard, record.id.offset);
        let change = move |rows: &mut Rows| {
            let row =
                encode(&record).map_err(|source| ParkedError { act: "keep", source: Box::new(source) })?;
            rows.put(Table::Parked, key, row);
            Ok(())
        };
        self.writer.change(change, failed("keep")).boxed()
    }

    fn list(
        &self,
        after: Option<ParkedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ParkedRecord>, ParkedError>> {
        let page = self.page(after.as_ref(), limit);
        async { page }.boxed()
    }

    fn get<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<Option<ParkedRecord>, ParkedError>> {
        let found = self.find(id);
        async { found }.boxed()
    }

    fn remove<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<bool, ParkedError>> {
        let key = keys::record(&self.object, &id.shard, id.offset);
        let change = move |rows: &mut Rows| {
            let there = rows.get(Table::Parked, &key).map_err(failed("forget"))?.is_some();
            if there {
                rows.remove(Table::Parked, key);
            }
            Ok(there)
        };
        self.writer.change(change, failed("forget")).boxed()
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, ParkedError>> {
        let counted = self.store("list").and_then(|store| {
            // Parked records are few: a person looks at each.
            let rows = store.parked.prefix(keys::object(&self.object)).map(|row| row.key());
            let keys = rows.map(|key| key.map_err(|source| failed("list")(store.error("read", source))));
            keys.map(|key| key.map(|_| 1)).sum()
        });
        async { counted }.boxed()
    }
}
