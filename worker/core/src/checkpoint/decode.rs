//! Reading a checkpoint: fully checked, never a panic, never a guess.
//!
//! The checksum finds damage; the checks after it find a writer that was wrong.

use super::wire::{CHECKSUM, Cursor, MAGIC, tag};
use super::{Checkpoint, DecodeError, FORMAT, FailedRecord, text};
use crate::ids::{Attempt, Fence, Offset, UnixMillis};
use crate::ranges::{OffsetRange, RangeSet};

/// The newest format that is read: what it adds to ours is skipped.
const NEWEST: u8 = FORMAT + 1;

impl Checkpoint {
    /// Reads what [`Checkpoint::encode`] wrote, in this format or the next one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(DecodeError::Unrecognised)?;
        let format = *rest.first().ok_or(DecodeError::Checksum)?;
        if format > NEWEST {
            return Err(DecodeError::TooNew { found: format, newest: NEWEST });
        }
        let (content, checksum) = bytes
            .split_last_chunk::<CHECKSUM>()
            .filter(|(c, _)| c.len() > MAGIC.len())
            .ok_or(DecodeError::Checksum)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(DecodeError::Checksum);
        }
        if format == 0 {
            return Err(malformed("format"));
        }
        read(&content[MAGIC.len() + 1..], format)
    }

    /// Reads what [`Checkpoint::encode_text`] wrote.
    pub fn decode_text(text: &str) -> Result<Self, DecodeError> {
        if !Self::is_text(text) {
            return Err(DecodeError::Unrecognised);
        }
        Self::decode(&text::decode(text).ok_or(DecodeError::NotText)?)
    }

    /// Whether a text begins as a checkpoint's does; the rest of it is not looked at.
    #[must_use]
    pub fn is_text(text: &str) -> bool {
        text.starts_with(text::START)
    }
}

fn read(content: &[u8], format: u8) -> Result<Checkpoint, DecodeError> {
    let mut cursor = Cursor::new(content);
    let mut checkpoint = read_head(&mut cursor)?;
    let mut seen = 0u8;
    while !cursor.is_at_end() {
        let tag = cursor.byte().ok_or(malformed("sections"))?;
        let section = cursor.block().ok_or(malformed("sections"))?;
        if !(tag::COMPLETED..=tag::NOTES).contains(&tag) {
            if format > FORMAT {
                continue;
            }
            return Err(malformed("sections"));
        }
        if seen & 1 << tag != 0 {
            return Err(malformed("sections"));
        }
        seen |= 1 << tag;
        match tag {
            tag::COMPLETED => checkpoint.completed = read_completed(section, checkpoint.frontier)?,
            tag::FAILED => checkpoint.failed = read_failed(section, checkpoint.frontier)?,
            tag::STOPPED => checkpoint.stopped = Some(read_stopped(section)?),
            tag::CLUSTER => checkpoint.cluster_id = Some(read_text(section, "cluster id")?),
            tag::STREAM => checkpoint.stream_id = Some(read_text(section, "stream id")?),
            _ => checkpoint.notes = section.to_vec(),
        }
    }
    Ok(checkpoint)
}

fn read_head(cursor: &mut Cursor<'_>) -> Result<Checkpoint, DecodeError> {
    let mut number = |part| cursor.varint().ok_or(malformed(part));
    let fence = Fence::new(number("fence")?, number("fence")?);
    let sequence = number("sequence")?;
    let frontier = number("frontier")?;
    let crash_takeovers = number("crash takeovers")?;
    Ok(Checkpoint {
        sequence,
        crash_takeovers: u32::try_from(crash_takeovers).map_err(|_| malformed("crash takeovers"))?,
        ..Checkpoint::new(fence, above(Offset::ZERO, frontier).ok_or(malformed("frontier"))?)
    })
}

fn read_completed(section: &[u8], frontier: Offset) -> Result<RangeSet, DecodeError> {
    let mut cursor = Cursor::new(section);
    let mut completed = RangeSet::new();
    let mut below = frontier;
    while !cursor.is_at_end() {
        let gap = cursor.varint().ok_or(malformed("completed ranges"))?;
        let width = cursor.varint().ok_or(malformed("completed ranges"))?;
        // Only the first range may touch what is below it: any other one would have been merged.
        if width == 0 || (gap == 0 && !completed.is_empty()) {
            return Err(DecodeError::Unsorted);
        }
        let start = above(below, gap).ok_or(DecodeError::Unsorted)?;
        let end = above(start, width).ok_or(DecodeError::Unsorted)?;
        completed.insert(OffsetRange::new(start, end));
        below = end;
    }
    Ok(completed)
}

fn read_failed(section: &[u8], frontier: Offset) -> Result<Vec<FailedRecord>, DecodeError> {
    let broken = malformed("failed records");
    let mut cursor = Cursor::new(section);
    let mut failed: Vec<FailedRecord> = Vec::new();
    let mut below = frontier;
    while !cursor.is_at_end() {
        let gap = cursor.varint().ok_or(broken.clone())?;
        if gap == 0 && !failed.is_empty() {
            return Err(broken);
        }
        let offset = above(below, gap).ok_or(broken.clone())?;
        let attempts = cursor.varint().and_then(|n| u32::try_from(n).ok()).ok_or(broken.clone())?;
        let not_before = cursor.varint().ok_or(broken.clone())?;
        let reason = read_text(cursor.block().ok_or(broken.clone())?, "failed records")?;
        failed.push(FailedRecord {
            offset,
            attempts: Attempt(attempts),
            not_before: UnixMillis(not_before),
            reason,
        });
        below = offset;
    }
    Ok(failed)
}

fn read_stopped(section: &[u8]) -> Result<String, DecodeError> {
    read_text(section.strip_prefix(b"!").ok_or(malformed("stop"))?, "stop")
}

fn read_text(bytes: &[u8], part: &'static str) -> Result<String, DecodeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| malformed(part))
}

/// The offset that lies so far above another one, where there is such an offset.
fn above(offset: Offset, by: u64) -> Option<Offset> {
    offset.0.checked_add_unsigned(by).map(Offset)
}

const fn malformed(part: &'static str) -> DecodeError {
    DecodeError::Malformed { part }
}
