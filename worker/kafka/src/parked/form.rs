//! A parked record as a record of the topic, and back.
//!
//! The value is the record's own, so that any tool shows it. In front of the record's own headers stand two of ours:
//! what is known of the failure, as JSON, and the record's key. Up: [`crate::parked`].

use bytes::Bytes;
use keyweir_core::UnixMillis;
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{BlockedKey, ParkedId, ParkedRecord};
use serde::{Deserialize, Serialize};

const ABOUT: &str = "keyweir-parked";
const KEY: &str = "keyweir-parked-key";

/// What is known of a parked record beside its bytes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    attempts: u32,
    reason: String,
    text: String,
    parked_at: UnixMillis,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    partition: Option<u32>,
    /// A null value would be taken for a forgotten record, so it is kept as an empty one.
    #[serde(default)]
    null_value: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocks: Option<BlockedKey>,
}

/// What is written to keep a record.
pub(super) fn kept(parked: ParkedRecord) -> NewRecord {
    let ParkedRecord { id, record, attempts, reason, text, parked_at, blocks } = parked;
    let about = About {
        attempts,
        reason,
        text,
        parked_at,
        timestamp: record.timestamp,
        partition: record.partition,
        null_value: record.value.is_none(),
        blocks,
    };
    // Numbers and texts: this can't fail, and an empty header is refused when it is read.
    let about = serde_json::to_vec(&about).unwrap_or_default();
    let mut headers = vec![(ABOUT.to_owned(), Some(Bytes::from(about))), (KEY.to_owned(), record.key)];
    headers.extend(record.headers);
    NewRecord {
        key: Some(id.to_string().into()),
        value: Some(record.value.unwrap_or_default()),
        headers,
        partition: None,
        timestamp: None,
    }
}

/// What is written to forget a record.
pub(super) fn forgotten(id: &ParkedId) -> NewRecord {
    NewRecord { key: Some(id.to_string().into()), ..NewRecord::default() }
}

/// The name that a key spells; `None` = the key is not ours.
pub(super) fn id(key: &[u8]) -> Option<ParkedId> {
    let (shard, offset) = std::str::from_utf8(key).ok()?.rsplit_once('@')?;
    Some(ParkedId { shard: shard.parse().ok()?, offset: keyweir_core::Offset(offset.parse().ok()?) })
}

/// The record that was kept; `None` = it was not written by us.
pub(super) fn read<'a>(
    id: ParkedId,
    value: Option<&[u8]>,
    mut headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> Option<ParkedRecord> {
    let (ABOUT, Some(about)) = headers.next()? else { return None };
    let (KEY, key) = headers.next()? else { return None };
    let about: About = serde_json::from_slice(about).ok()?;
    let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let record = NewRecord {
        key: key.map(copied),
        value: if about.null_value { None } else { value.map(copied) },
        headers: headers.map(|(name, value)| (name.to_owned(), value.map(copied))).collect(),
        partition: about.partition,
        timestamp: about.timestamp,
    };
    let About { attempts, reason, text, parked_at, blocks, .. } = about;
    Some(ParkedRecord { id, record, attempts, reason, text, parked_at, blocks })
}

#[cfg(test)]
mod tests {
    use keyweir_core::{Offset, ShardId};

    use super::*;

    #[test]
    fn a_name_reads_as_it_is_written() {
        let name = ParkedId { shard: ShardId::new("a@b/c", 7), offset: Offset(1 << 40) };
        assert_eq!(id(name.to_string().as_bytes()), Some(name));
        for wrong in [&b""[..], b"orders", b"orders/1", b"orders/1@x", b"\xff/1@2"] {
            assert_eq!(id(wrong), None);
        }
    }

    #[test]
    fn somebody_elses_record_is_none_of_ours() {
        let name = ParkedId { shard: ShardId::new("a", 0), offset: Offset(1) };
        let foreign: [(&str, Option<&[u8]>); 2] = [("keyweir-parked", Some(b"{}")), ("other", None)];
        assert_eq!(read(name.clone(), Some(b"v"), foreign.into_iter()), None);
        assert_eq!(read(name, Some(b"v"), std::iter::empty()), None);
    }
}
