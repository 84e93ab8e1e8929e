//! What stands under an object's keys: plain JSON, each value with the version of its form. Up: [ownership](super).
//!
//! A program reads the forms of its neighbours: fields that it does not know are passed over, and a value of a form
//! that is more than one ahead is foreign.

use std::collections::BTreeMap;

use bytes::Bytes;
use keyweir_core::checkpoint::FailedRecord;
use keyweir_core::{Attempt, Fence, MemberId, Offset, ShardId, UnixMillis};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pump::Fate;

/// The form that is written.
pub const FORM: u32 = 1;

/// Whose prefix this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectValue {
    /// The form of this value.
    pub form: u32,
    /// The object's uid; empty where there is no cluster.
    pub uid: String,
    /// The first half of every fence; raised when the store was restored from a backup.
    pub epoch: u64,
}

/// One live member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberValue {
    /// The form of this value.
    pub form: u32,
    /// Where the wire between members reaches it; absent: nowhere.
    #[serde(default)]
    pub address: Option<String>,
    /// Its share of the work beside the others'.
    pub capacity: u32,
    /// Where it runs.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its source and its handler work.
    pub healthy: bool,
    /// It is on its way out.
    pub leaving: bool,
    /// The newest rules of placement that it knows.
    pub rules: u32,
    /// The version of its program.
    pub program: String,
    /// When it joined, in milliseconds since the epoch, by its own clock: for people only.
    pub since: i64,
    /// The streams that its manifest names; absent: it does not say.
    #[serde(default)]
    pub streams: Option<Vec<String>>,
    /// How records come to it from other owners; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<WireValue>,
    /// What only one process at a time can call itself: a pod's uid, or the id of a locked data directory. The next one
    /// of that name proves that this one is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Address and port at which it says what it does; absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// How a member speaks with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireValue {
    /// The oldest version of the wire that it speaks.
    pub oldest: u16,
    /// The newest one.
    pub newest: u16,
    /// What its handlers are, as a hash: records are sent only to members that would do the same with them.
    pub handlers: String,
}

impl WireValue {
    /// Whether records may be sent from one to the other.
    #[must_use]
    pub fn fits(&self, other: &Self) -> bool {
        self.handlers == other.handlers && self.oldest <= other.newest && other.oldest <= self.newest
    }
}

/// The owner of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerValue {
    /// The form of this value.
    pub form: u32,
    /// Who owns it.
    pub member: MemberId,
    /// Since when, in milliseconds since the epoch, by the owner's clock: for people only.
    pub since: i64,
}

/// A member is ready to take a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptValue {
    /// The form of this value.
    pub form: u32,
}

/// What still executes of a shard at a member that has released it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseValue {
    /// The form of this value.
    pub form: u32,
    /// Under which fence it was owned.
    pub fence: Fence,
    /// The records that still execute, with their keys.
    pub executing: Vec<ExecutingRecord>,
    /// Those that have ended since, and whether they are complete. They stay for a while, so that an owner that
    /// takes over from the next one learns of them too.
    #[serde(default)]
    pub ended: Vec<(Offset, bool)>,
    /// Of those that are not complete: the attempts that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedEnding>,
    /// What is the same for members that put records into the same order; absent: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// A record that failed at an earlier owner after it had given the shard up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedEnding {
    /// Its place.
    pub offset: Offset,
    /// The last attempt that failed.
    pub attempts: Attempt,
    /// When the next one may start.
    pub not_before: UnixMillis,
    /// Why it failed.
    pub reason: String,
}

impl ReleaseValue {
    /// What executes at a member of a shard that it gave up, and what has ended there.
    pub(super) fn new(fence: Fence, executing: Vec<ExecutingRecord>, ended: &[(Offset, Fate)]) -> Self {
        let failed = ended.iter().filter_map(|(_, fate)| match fate {
            Fate::Failed(failed) => Some(failed.clone().into()),
            Fate::Complete | Fate::Unfinished => None,
        });
        let failed = failed.collect();
        let ended = ended.iter().map(|(offset, fate)| (*offset, *fate == Fate::Complete)).collect();
        Self { form: FORM, fence, executing, ended, failed, order: None }
    }

    /// The same, told by a member of that order.
    pub(super) fn in_order(mut self, order: &str) -> Self {
        self.order = Some(order.to_owned()).filter(|order| !order.is_empty());
        self
    }

    /// Whether its records execute in another order than that one. Who does not say is of an earlier version.
    pub(super) fn is_ordered_otherwise(&self, order: &str) -> bool {
        self.order.as_deref().is_some_and(|theirs| !order.is_empty() && theirs != order)
    }

    /// How a record ended; `None` = it still executes. One that is not named did not run to its end.
    pub(super) fn fate(&self, offset: Offset) -> Option<Fate> {
        if self.executing.iter().any(|record| record.offset == offset) {
            return None;
        }
        if self.ended.iter().any(|(ended, complete)| *ended == offset && *complete) {
            return Some(Fate::Complete);
        }
        let failed = self.failed.iter().find(|failed| failed.offset == offset);
        Some(failed.map_or(Fate::Unfinished, |failed| Fate::Failed(failed.clone().into())))
    }

    /// How those ended that executed here.
    pub(super) fn fates(&self) -> impl Iterator<Item = (Offset, Fate)> + '_ {
        self.ended.iter().filter_map(|(offset, _)| Some((*offset, self.fate(*offset)?)))
    }
}

impl From<FailedRecord> for FailedEnding {
    fn from(FailedRecord { offset, attempts, not_before, reason }: FailedRecord) -> Self {
        Self { offset, attempts, not_before, reason }
    }
}

impl From<FailedEnding> for FailedRecord {
    fn from(FailedEnding { offset, attempts, not_before, reason }: FailedEnding) -> Self {
        Self { offset, attempts, not_before, reason }
    }
}

/// One record that executes at an earlier owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutingRecord {
    /// Its place.
    pub offset: Offset,
    /// Its ordering key, in hexadecimal; absent: it has no order.
    #[serde(default, with = "hex", skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<u8>>,
}

/// The shards that there are: each stream holds those from 0 up to its count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardListValue {
    /// The form of this value.
    pub form: u32,
    /// By name.
    pub streams: BTreeMap<String, StreamShards>,
}

/// The shards of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamShards {
    /// How many there are.
    pub count: u32,
    /// How many there were when the object first started: `startAt` is for those.
    pub initial: u32,
}

impl ShardListValue {
    /// The list with these shards added; `None` = it holds them all. A source that says less
    /// for a moment takes nothing away.
    #[must_use]
    pub fn grown(&self, found: &[ShardId]) -> Option<Self> {
        let first_start = self.streams.is_empty();
        let mut grown = Self { form: FORM, ..self.clone() };
        for shard in found {
            let stream = grown.streams.entry(shard.stream.to_string()).or_default();
            stream.count = stream.count.max(shard.index.saturating_add(1));
        }
        for (name, stream) in &mut grown.streams {
            // A stream that is new in the manifest starts as the manifest says, too.
            if first_start || !self.streams.contains_key(name) {
                stream.initial = stream.count;
            }
        }
        (grown.streams != self.streams).then_some(grown)
    }

    /// The list without the streams that nobody names any more; `None` = there are none of those.
    #[must_use]
    pub fn without_unnamed(&self, is_named: impl Fn(&str) -> bool) -> Option<Self> {
        let mut kept = self.clone();
        kept.streams.retain(|name, _| is_named(name));
        (kept.streams.len() < self.streams.len()).then_some(kept)
    }

    /// All shards, in order.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.streams.iter().flat_map(|(name, stream)| {
            let name: std::sync::Arc<str> = name.as_str().into();
            (0..stream.count).map(move |index| ShardId::new(std::sync::Arc::clone(&name), index))
        })
    }

    /// Whether a shard was there when its stream first started.
    #[must_use]
    pub fn is_initial(&self, shard: &ShardId) -> bool {
        self.streams.get(&*shard.stream).is_some_and(|stream| shard.index < stream.initial)
    }
}

/// A value as it is stored.
pub(super) fn write<T: Serialize>(value: &T) -> Bytes {
    // Plain data with text keys always serialises; an empty value would be read as foreign.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// A stored value; `None` = it is foreign.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    #[derive(Deserialize)]
    struct Form {
        form: u32,
    }
    let Form { form } = serde_json::from_slice(bytes).ok()?;
    (form <= FORM + 1).then(|| serde_json::from_slice(bytes).ok()).flatten()
}

/// Bytes as hexadecimal text.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            None => serializer.serialize_none(),
            Some(bytes) => {
                let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
                let text: String =
                    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
                serializer.serialize_str(&text)
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0);
        let digits = digits.ok_or_else(|| de::Error::custom("want pairs of hexadecimal digits"))?;
        Ok(Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(stream: &str, count: u32) -> Vec<ShardId> {
        (0..count).map(|index| ShardId::new(stream, index)).collect()
    }

    #[test]
    fn a_list_grows_and_remembers_what_was_there_first() {
        let first = ShardListValue::default().grown(&shards("orders", 3)).unwrap();
        assert_eq!(first.streams["orders"], StreamShards { count: 3, initial: 3 });
        assert_eq!(first.grown(&shards("orders", 3)), None);
        assert_eq!(first.grown(&[]), None);
        let more = first.grown(&[shards("orders", 5), shards("refunds", 2)].concat()).unwrap();
        assert_eq!(more.streams["orders"], StreamShards { count: 5, initial: 3 });
        assert_eq!(more.streams["refunds"], StreamShards { count: 2, initial: 2 });
        assert!(more.is_initial(&ShardId::new("orders", 2)) && !more.is_initial(&ShardId::new("orders", 3)));
        assert_eq!(more.shards().count(), 7);
    }

    #[test]
    fn a_stream_leaves_the_list_when_nobody_names_it() {
        let list = ShardListValue::default().grown(&[shards("orders", 3), shards("refunds", 2)].concat());
        let list = list.unwrap();
        assert_eq!(list.without_unnamed(|_| true), None);
        let rest = list.without_unnamed(|name| name == "orders").unwrap();
        assert_eq!(rest.shards().count(), 3);
        let again = rest.grown(&shards("refunds", 2)).unwrap();
        assert!(again.is_initial(&ShardId::new("refunds", 1)), "named anew, it starts as the manifest says");
    }

    #[test]
    fn values_read_back_and_forms_far_ahead_are_foreign() {
        let executing = vec![
            ExecutingRecord { offset: Offset(7), key: Some(vec![0, 255, 16]) },
            ExecutingRecord { offset: Offset(9), key: None },
        ];
        let failed = FailedRecord {
            offset: Offset(6),
            attempts: Attempt(2),
            not_before: UnixMillis(7),
            reason: "HandlerTimeout".into(),
        };
        let ended = [(Offset(5), Fate::Complete), (Offset(6), Fate::Failed(failed.clone()))];
        let value = ReleaseValue::new(Fence::new(1, 2), executing, &ended);
        assert_eq!(value.fates().collect::<Vec<_>>(), ended);
        assert_eq!((value.fate(Offset(9)), value.fate(Offset(8))), (None, Some(Fate::Unfinished)));
        assert_eq!(read::<ReleaseValue>(&write(&value)).as_ref(), Some(&value));
        let next = br#"{"form":2,"new":true}"#;
        assert_eq!(read::<AcceptValue>(next), Some(AcceptValue { form: 2 }));
        for foreign in [&br#"{"form":3}"#[..], b"", b"x", br#"{"uid":""}"#] {
            assert_eq!(read::<AcceptValue>(foreign), None);
        }
    }
}
