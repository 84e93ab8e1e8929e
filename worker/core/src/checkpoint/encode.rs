//! Writing a checkpoint, whole or within a bound.
//!
//! What does not fit is given up in the order of its cost: first the texts of reasons, then the highest completed
//! ranges (those records are handled again), at last what is known of failed records. The caller is told.

use thiserror::Error;

use super::wire::{CHECKSUM, MAGIC, put_section, put_varint, tag, varint_len};
use super::{Checkpoint, FORMAT, FailedRecord, REASON_LIMIT, text};
use crate::ids::Offset;

/// A checkpoint within a bound, and what the bound cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted<T> {
    /// Its bytes, or its text.
    pub encoded: T,
    /// How many completed offsets it no longer knows: the records there would be handled again.
    pub replayed: u64,
    /// Of how many failed records it no longer knows the attempts.
    pub forgotten: usize,
}

/// Why a checkpoint could not be written.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// Not even frontier, fence and ids fit.
    #[error("failed to write a checkpoint within {limit} bytes: it takes {least}")]
    TooSmall {
        /// The bound.
        limit: usize,
        /// The smallest bound that would do.
        least: usize,
    },
}

impl Checkpoint {
    /// All of it, as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.write(usize::MAX, REASON_LIMIT).encoded
    }

    /// As much of it as fits in so many bytes.
    pub fn encode_within(&self, limit: usize) -> Result<Fitted<Vec<u8>>, EncodeError> {
        let whole = self.write(limit, REASON_LIMIT);
        let fits = |fitted: &Fitted<Vec<u8>>| fitted.encoded.len() <= limit;
        if fits(&whole) && whole.replayed == 0 && whole.forgotten == 0 {
            return Ok(whole);
        }
        let bare = self.write(limit, 0);
        if fits(&bare) {
            return Ok(bare);
        }
        Err(EncodeError::TooSmall { limit, least: bare.encoded.len() })
    }

    /// All of it, as text of letters, digits, `-` and `_` that begins with `kwcp`.
    #[must_use]
    pub fn encode_text(&self) -> String {
        text::encode(&self.encode())
    }

    /// As much of it as fits in a text of so many bytes.
    pub fn encode_text_within(&self, limit: usize) -> Result<Fitted<String>, EncodeError> {
        let Fitted { encoded, replayed, forgotten } =
            self.encode_within(text::capacity(limit)).map_err(|error| match error {
                EncodeError::TooSmall { least, .. } => {
                    EncodeError::TooSmall { limit, least: text::length(least) }
                }
            })?;
        Ok(Fitted { encoded: text::encode(&encoded), replayed, forgotten })
    }

    /// The fixed part always, then of the rest what the limit leaves room for.
    fn write(&self, limit: usize, reason_limit: usize) -> Fitted<Vec<u8>> {
        let mut bytes = self.head();
        let (failed, forgotten) = self.failed_section(room(limit, &bytes), reason_limit);
        put_section(&mut bytes, tag::FAILED, &failed);
        let (completed, replayed) = self.completed_section(room(limit, &bytes));
        put_section(&mut bytes, tag::COMPLETED, &completed);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Fitted { encoded: bytes, replayed, forgotten }
    }

    fn head(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(FORMAT);
        put_varint(&mut bytes, self.fence.epoch);
        put_varint(&mut bytes, self.fence.revision);
        put_varint(&mut bytes, self.sequence);
        put_varint(&mut bytes, place(self.frontier));
        put_varint(&mut bytes, u64::from(self.crash_takeovers));
        if let Some(reason) = &self.stopped {
            // One byte before the text, so that an empty reason is still a stop.
            put_section(&mut bytes, tag::STOPPED, &[b"!", cut(reason, REASON_LIMIT).as_bytes()].concat());
        }
        put_section(&mut bytes, tag::CLUSTER, self.cluster_id.as_deref().unwrap_or_default().as_bytes());
        put_section(&mut bytes, tag::STREAM, self.stream_id.as_deref().unwrap_or_default().as_bytes());
        put_section(&mut bytes, tag::NOTES, &self.notes);
        bytes
    }

    /// The lowest failed records that fit, and how many do not.
    fn failed_section(&self, room: usize, reason_limit: usize) -> (Vec<u8>, usize) {
        let mut failed: Vec<&FailedRecord> =
            self.failed.iter().filter(|f| f.offset >= self.frontier).collect();
        failed.sort_by_key(|record| record.offset);
        failed.dedup_by_key(|record| record.offset);
        let mut bytes = Vec::new();
        let mut below = self.frontier;
        for (written, record) in failed.iter().enumerate() {
            let before = bytes.len();
            let reason = cut(&record.reason, reason_limit);
            put_varint(&mut bytes, place(record.offset) - place(below));
            put_varint(&mut bytes, u64::from(record.attempts.0));
            put_varint(&mut bytes, record.not_before.0);
            put_varint(&mut bytes, reason.len() as u64);
            bytes.extend_from_slice(reason.as_bytes());
            if bytes.len() > room {
                bytes.truncate(before);
                return (bytes, failed.len() - written);
            }
            below = record.offset;
        }
        (bytes, 0)
    }

    /// The lowest completed ranges that fit, and how many offsets the others cover.
    fn completed_section(&self, room: usize) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        let mut below = self.frontier;
        let mut ranges = self.completed.above(self.frontier);
        while let Some(range) = ranges.next() {
            let gap = place(range.start) - place(below);
            if bytes.len() + varint_len(gap) + varint_len(range.width()) > room {
                return (bytes, range.width() + ranges.map(|r| r.width()).sum::<u64>());
            }
            put_varint(&mut bytes, gap);
            put_varint(&mut bytes, range.width());
            below = range.end;
        }
        (bytes, 0)
    }
}

/// How many bytes of content a further section may have.
fn room(limit: usize, written: &[u8]) -> usize {
    let left = limit.saturating_sub(written.len() + CHECKSUM);
    left.saturating_sub(1 + varint_len(left as u64))
}

/// An offset as it is written. No record stands below zero.
fn place(offset: Offset) -> u64 {
    offset.0.max(0).unsigned_abs()
}

/// The longest part of a text, from its start, of at most so many bytes.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
