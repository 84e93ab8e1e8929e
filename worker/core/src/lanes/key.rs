//! What makes two records share a lane.

use std::hash::{Hash, Hasher};

use crate::ids::ShardIndex;

/// What makes two records share a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKey<'a> {
    /// Equal bytes of one stream (`ordering: Key`); equal keys of two topics are two lanes.
    Key {
        /// Which of the object's streams.
        stream: u16,
        /// The key's bytes.
        key: &'a [u8],
    },
    /// One lane a shard (`ordering: Partition`).
    Shard(ShardIndex),
    /// A lane of its own (`ordering: None`, or a null key).
    Own,
}

impl Hash for LaneKey<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Key { stream, key } => {
                state.write(key);
                state.write_u16(*stream);
            }
            Self::Shard(shard) => state.write_u32(shard.0),
            Self::Own => {}
        }
    }
}

/// Longest key that needs no allocation.
const INLINE: usize = 28;

/// A lane's own copy of its key: it must not keep the record's buffer alive.
#[derive(Debug)]
pub(super) enum StoredKey {
    Short { stream: u16, length: u8, bytes: [u8; INLINE] },
    Long { stream: u16, bytes: Box<[u8]> },
    Shard(ShardIndex),
    Own,
}

impl From<LaneKey<'_>> for StoredKey {
    #[inline]
    fn from(key: LaneKey<'_>) -> Self {
        match key {
            LaneKey::Key { stream, key } if key.len() <= INLINE => {
                let mut bytes = [0; INLINE];
                bytes[..key.len()].copy_from_slice(key);
                Self::Short { stream, length: key.len() as u8, bytes }
            }
            LaneKey::Key { stream, key } => Self::Long { stream, bytes: key.into() },
            LaneKey::Shard(shard) => Self::Shard(shard),
            LaneKey::Own => Self::Own,
        }
    }
}

impl StoredKey {
    #[inline]
    pub(super) fn is(&self, key: LaneKey<'_>) -> bool {
        match (self, key) {
            (Self::Short { stream, length, bytes }, LaneKey::Key { stream: other, key }) => {
                *stream == other && bytes[..usize::from(*length)] == *key
            }
            (Self::Long { stream, bytes }, LaneKey::Key { stream: other, key }) => {
                *stream == other && **bytes == *key
            }
            (Self::Shard(shard), LaneKey::Shard(other)) => *shard == other,
            _ => false,
        }
    }

    /// The key's bytes, where it has any.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Short { length, bytes, .. } => Some(&bytes[..usize::from(*length)]),
            Self::Long { bytes, .. } => Some(bytes),
            Self::Shard(_) | Self::Own => None,
        }
    }

    /// Whether other records can find this lane.
    pub(super) fn is_shared(&self) -> bool {
        !matches!(self, Self::Own)
    }
}
