//! One change of one key, and the record that a handler sees of it. Up: [the source](super).
//!
//! The record's key is the whole key in etcd, its value the new value; a deletion has none. Its headers:
//!
//! | header | value |
//! |---|---|
//! | `etcd-kind` | `Created`, `Updated` or `Deleted` |
//! | `etcd-revision` | of the change; for a deletion that was only found missing, of the listing |
//! | `etcd-create-revision` | at which the key appeared |
//! | `etcd-version` | writes since it appeared; 0 for a deletion |
//! | `etcd-previous-value` | the value before; absent where the history no longer has it |
//! | `etcd-previous-revision` | at which that value was written |

use bytes::Bytes;
use etcd_client::{Event, EventType, KeyValue};
use keyweir_engine::{Arena, Origin, Record};

use crate::convert::revision;

/// A key as it stands at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) created: u64,
    pub(super) modified: u64,
    pub(super) version: u64,
}

impl Stored {
    pub(super) fn weight(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

impl From<KeyValue> for Stored {
    fn from(found: KeyValue) -> Self {
        let (created, modified) = (revision(found.create_revision()), revision(found.mod_revision()));
        let version = revision(found.version());
        let (key, value) = found.into_key_value();
        Self { key: key.into(), value: value.into(), created, modified, version }
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It was written.
    Put {
        now: Stored,
        /// What stood there before; `None` = nothing, or nobody knows any more.
        before: Option<Stored>,
    },
    /// It is gone.
    Deleted { key: Bytes, revision: u64, before: Option<Stored> },
}

impl Change {
    /// What an event of a watch tells.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let now = Stored::from(event.kv()?.clone());
        let before = event.prev_kv().cloned().map(Stored::from);
        Some(match event.event_type() {
            EventType::Put => Self::Put { now, before },
            EventType::Delete => Self::Deleted { key: now.key, revision: now.modified, before },
        })
    }

    pub(super) fn key(&self) -> &Bytes {
        match self {
            Self::Put { now, .. } => &now.key,
            Self::Deleted { key, .. } => key,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Put { now, .. } => now.modified,
            Self::Deleted { revision, .. } => *revision,
        }
    }

    /// The revision of the key's present value; `None` = it is gone.
    pub(super) fn leaves(&self) -> Option<u64> {
        match self {
            Self::Put { now, .. } => Some(now.modified),
            Self::Deleted { .. } => None,
        }
    }

    pub(super) fn weight(&self) -> usize {
        let (now, before) = match self {
            Self::Put { now, before } => (now.weight(), before),
            Self::Deleted { key, before, .. } => (key.len(), before),
        };
        now + before.as_ref().map_or(0, Stored::weight)
    }

    /// The record of it. `known` is the revision of the value that the slot knew before, if it knew one.
    pub(super) fn record(&self, arena: &mut Arena, origin: Origin, known: Option<u64>) -> Record {
        let (now, before) = match self {
            Self::Put { now, before } => (Some(now), before.as_ref()),
            Self::Deleted { before, .. } => (None, before.as_ref()),
        };
        let kind = match now {
            None => "Deleted",
            Some(now) if before.is_some() || known.is_some_and(|known| now.created <= known) => "Updated",
            Some(_) => "Created",
        };
        // A key that was made anew has nothing before it.
        let had_before = kind != "Created";
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let revision = Some(self.revision().to_string());
        let created = number(now.or(before).map(|stored| stored.created));
        let version = Some(now.map_or(0, |now| now.version).to_string());
        let previous = number(before.map(|before| before.modified).or(known).filter(|_| had_before));
        let headers = [
            ("etcd-kind", Some(kind.as_bytes())),
            ("etcd-revision", revision.as_deref().map(str::as_bytes)),
            ("etcd-create-revision", created.as_deref().map(str::as_bytes)),
            ("etcd-version", version.as_deref().map(str::as_bytes)),
            ("etcd-previous-revision", previous.as_deref().map(str::as_bytes)),
            ("etcd-previous-value", before.map(|before| &before.value[..])),
        ];
        let headers = headers.into_iter().filter(|(_, value)| value.is_some());
        arena.record(origin, Some(self.key()), now.map(|now| &now.value[..]), headers)
    }
}

#[cfg(test)]
mod tests {
    use keyweir_core::{Offset, ShardIndex};

    use super::*;

    fn stored(value: &'static str, created: u64, modified: u64, version: u64) -> Stored {
        Stored { key: Bytes::from_static(b"/a/k"), value: value.into(), created, modified, version }
    }

    fn told(change: &Change, known: Option<u64>) -> Vec<(String, String)> {
        let origin = Origin { shard: ShardIndex(0), offset: Offset(0), timestamp: -1 };
        let record = change.record(&mut Arena::new(), origin, known);
        assert_eq!(record.key(), Some(&b"/a/k"[..]));
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"-")).into_owned();
        let headers = record.headers().map(|(name, value)| (name["etcd-".len()..].to_owned(), text(value)));
        headers.chain([("value".to_owned(), text(record.value()))]).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// U06.
    #[test]
    fn a_change_tells_its_kind_its_revisions_and_what_was_before() {
        let first = stored("one", 5, 5, 1);
        let created = Change::Put { now: first.clone(), before: None };
        let expected = [
            ("kind", "Created"),
            ("revision", "5"),
            ("create-revision", "5"),
            ("version", "1"),
            ("value", "one"),
        ];
        assert_eq!(told(&created, None), pairs(&expected));

        let second = stored("two", 5, 9, 2);
        let updated = Change::Put { now: second.clone(), before: Some(first) };
        let expected = [
            ("kind", "Updated"),
            ("revision", "9"),
            ("create-revision", "5"),
            ("version", "2"),
            ("previous-revision", "5"),
            ("previous-value", "one"),
            ("value", "two"),
        ];
        assert_eq!(told(&updated, Some(5)), pairs(&expected));

        let deleted = Change::Deleted { key: second.key.clone(), revision: 12, before: Some(second) };
        let expected = [
            ("kind", "Deleted"),
            ("revision", "12"),
            ("create-revision", "5"),
            ("version", "0"),
            ("previous-revision", "9"),
            ("previous-value", "two"),
            ("value", "-"),
        ];
        assert_eq!(told(&deleted, Some(9)), pairs(&expected));
    }

    #[test]
    fn what_a_listing_finds_is_told_by_what_was_known() {
        let kind = |created, known| {
            let now = stored("x", created, 20, 3);
            let told = told(&Change::Put { now, before: None }, known);
            let of =
                |name: &str| told.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            (of("kind").unwrap_or_default(), of("previous-revision"))
        };
        assert_eq!(kind(5, None), ("Created".to_owned(), None));
        assert_eq!(kind(5, Some(8)), ("Updated".to_owned(), Some("8".to_owned())));
        assert_eq!(kind(15, Some(8)), ("Created".to_owned(), None), "it was deleted and made anew");
    }
}
