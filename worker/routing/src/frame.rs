//! Frames: what is said over the wire, as bytes. Up: the [crate](crate).
//!
//! Numbers are little-endian; a text or a list of bytes is its length (`u32`, all ones = absent) and its bytes. A frame of
//! an unknown kind, or one that is too short, ends the stream: both sides agreed on the version at the greeting.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keyweir_core::{Attempt, Fence, Offset, ShardId, ShardIndex};

use crate::words::word;
use keyweir_engine::outcome::{Failure, Outcome, Output, Verdict};
use keyweir_engine::ports::Request;
use keyweir_engine::record::{NewRecord, Origin, Record};

const ABSENT: u32 = u32::MAX;
/// No limit of time.
const ENDLESS: u64 = u64::MAX;

/// What owner and target say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Target: nothing of the owner executes here from earlier streams; it may begin.
    Welcome,
    /// Target: how long may I execute? The number tells answers apart.
    Ask(u64),
    /// Owner: so long, from the moment at which you asked.
    Granted(u64, Duration),
    /// Owner: execute this.
    Run(Run),
    /// Owner: nobody waits for this one any more.
    Cancel(u64),
    /// Target: this one has ended here.
    Ended(u64, End),
}

/// A record to be executed.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What its answer is told by; never used twice by one owner.
    pub(crate) id: u64,
    /// Whose handler: the object's own, or that of a route.
    pub(crate) route: u8,
    pub(crate) request: Request,
}

/// How a record ended at its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The handler answered.
    Answered(Outcome),
    /// It was not begun: all seats are taken.
    Busy,
    /// It was not begun, and would not be the next time: a newer owner is known, or the target leaves.
    Refused,
    /// It was begun and cancelled.
    Cancelled,
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        let of = |run: &Self| (run.id, run.route, run.request.attempt, run.request.record.clone());
        of(self) == of(other)
    }
}

impl Eq for Run {}

impl Frame {
    /// Appends the frame.
    pub(crate) fn put(&self, to: &mut BytesMut) {
        match self {
            Self::Welcome => to.put_u8(0),
            Self::Ask(number) => {
                to.put_u8(1);
                to.put_u64_le(*number);
            }
            Self::Granted(number, left) => {
                to.put_u8(2);
                to.put_u64_le(*number);
                to.put_u64_le(micros(*left));
            }
            Self::Run(run) => {
                to.put_u8(3);
                put_run(to, run);
            }
            Self::Cancel(id) => {
                to.put_u8(4);
                to.put_u64_le(*id);
            }
            Self::Ended(id, end) => {
                to.put_u8(5);
                to.put_u64_le(*id);
                put_end(to, end);
            }
        }
    }

    /// Takes the next frame; `None` = it is none.
    pub(crate) fn take(from: &mut Bytes) -> Option<Self> {
        Some(match u8(from)? {
            0 => Self::Welcome,
            1 => Self::Ask(u64(from)?),
            2 => Self::Granted(u64(from)?, Duration::from_micros(u64(from)?)),
            3 => Self::Run(run(from)?),
            4 => Self::Cancel(u64(from)?),
            5 => Self::Ended(u64(from)?, end(from)?),
            _ => return None,
        })
    }
}

fn put_run(to: &mut BytesMut, Run { id, route, request }: &Run) {
    let Request { record, shard, attempt, fence, time_left, key_hash } = request;
    to.put_u64_le(*id);
    to.put_u8(*route);
    put_bytes(to, Some(shard.stream.as_bytes()));
    to.put_u32_le(shard.index);
    to.put_u32_le(attempt.0);
    to.put_u64_le(fence.epoch);
    to.put_u64_le(fence.revision);
    to.put_u64_le(time_left.map_or(ENDLESS, micros));
    to.put_u8(u8::from(key_hash.is_some()));
    to.put_u64_le(key_hash.unwrap_or_default());
    to.put_i64_le(record.offset.0);
    to.put_i64_le(record.timestamp);
    let (key, value, bytes) = record.layout();
    to.put_u32_le(key.unwrap_or(ABSENT));
    to.put_u32_le(value.unwrap_or(ABSENT));
    put_bytes(to, Some(bytes));
}

fn run(from: &mut Bytes) -> Option<Run> {
    let (id, route) = (u64(from)?, u8(from)?);
    let stream = text(from)?;
    let shard = Arc::new(ShardId::new(stream.as_str(), u32(from)?));
    let (attempt, fence) = (Attempt(u32(from)?), Fence::new(u64(from)?, u64(from)?));
    let time_left = Some(u64(from)?).filter(|micros| *micros != ENDLESS).map(Duration::from_micros);
    let key_hash = (u8(from)? != 0, u64(from)?);
    let (offset, timestamp) = (Offset(u64(from)? as i64), u64(from)? as i64);
    let present = |length: u32| (length != ABSENT).then_some(length);
    let (key, value) = (present(u32(from)?), present(u32(from)?));
    let origin = Origin { shard: ShardIndex(0), offset, timestamp };
    let record = Record::from_layout(origin, key, value, bytes(from)??)?;
    let key_hash = key_hash.0.then_some(key_hash.1);
    Some(Run { id, route, request: Request { record, shard, attempt, fence, time_left, key_hash } })
}

fn put_end(to: &mut BytesMut, end: &End) {
    match end {
        End::Answered(outcome) => {
            to.put_u8(0);
            put_outcome(to, outcome);
        }
        End::Busy => to.put_u8(1),
        End::Refused => to.put_u8(2),
        End::Cancelled => to.put_u8(3),
    }
}

fn end(from: &mut Bytes) -> Option<End> {
    Some(match u8(from)? {
        0 => End::Answered(outcome(from)?),
        1 => End::Busy,
        2 => End::Refused,
        3 => End::Cancelled,
        _ => return None,
    })
}

fn put_outcome(to: &mut BytesMut, Outcome { verdict, outputs }: &Outcome) {
    match verdict {
        Verdict::Done => to.put_u8(0),
        Verdict::Retry { after, failure } => put_verdict(to, 1, *after, failure),
        Verdict::Reject(failure) => put_verdict(to, 2, None, failure),
        Verdict::Unavailable { after, failure } => put_verdict(to, 3, *after, failure),
    }
    to.put_u32_le(outputs.len() as u32);
    for Output { name, record } in outputs {
        put_bytes(to, Some(name.as_bytes()));
        put_bytes(to, record.key.as_deref());
        put_bytes(to, record.value.as_deref());
        to.put_u32_le(record.partition.unwrap_or(ABSENT));
        to.put_u8(u8::from(record.timestamp.is_some()));
        to.put_i64_le(record.timestamp.unwrap_or_default());
        to.put_u32_le(record.headers.len() as u32);
        for (name, value) in &record.headers {
            put_bytes(to, Some(name.as_bytes()));
            put_bytes(to, value.as_deref());
        }
    }
}

fn put_verdict(to: &mut BytesMut, kind: u8, after: Option<Duration>, failure: &Failure) {
    to.put_u8(kind);
    to.put_u64_le(after.map_or(ENDLESS, micros));
    put_bytes(to, Some(failure.reason.as_bytes()));
    put_bytes(to, Some(failure.text.as_bytes()));
}

fn outcome(from: &mut Bytes) -> Option<Outcome> {
    let verdict = match u8(from)? {
        0 => Verdict::Done,
        kind => {
            let after = Some(u64(from)?).filter(|micros| *micros != ENDLESS).map(Duration::from_micros);
            let failure = Failure::new(word(&text(from)?), Cow::Owned(text(from)?));
            match kind {
                1 => Verdict::Retry { after, failure },
                2 => Verdict::Reject(failure),
                3 => Verdict::Unavailable { after, failure },
                _ => return None,
            }
        }
    };
    let mut outputs = Vec::new();
    for _ in 0..u32(from)? {
        let name = text(from)?;
        let (key, value) = (bytes(from)?, bytes(from)?);
        let partition = Some(u32(from)?).filter(|number| *number != ABSENT);
        let timestamp = (u8(from)? != 0, u64(from)? as i64);
        let mut headers = Vec::new();
        for _ in 0..u32(from)? {
            headers.push((text(from)?, bytes(from)?));
        }
        let timestamp = timestamp.0.then_some(timestamp.1);
        outputs.push(Output { name, record: NewRecord { key, value, headers, partition, timestamp } });
    }
    Some(Outcome { verdict, outputs })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(ENDLESS - 1).min(ENDLESS - 1)
}

fn put_bytes(to: &mut BytesMut, bytes: Option<&[u8]>) {
    to.put_u32_le(bytes.map_or(ABSENT, |bytes| bytes.len() as u32));
    to.extend_from_slice(bytes.unwrap_or_default());
}

/// Bytes that may be absent.
fn bytes(from: &mut Bytes) -> Option<Option<Bytes>> {
    match u32(from)? {
        ABSENT => Some(None),
        length => (from.len() >= length as usize).then(|| Some(from.split_to(length as usize))),
    }
}

fn text(from: &mut Bytes) -> Option<String> {
    String::from_utf8(bytes(from)??.into()).ok()
}

fn u8(from: &mut Bytes) -> Option<u8> {
    from.try_get_u8().ok()
}

fn u32(from: &mut Bytes) -> Option<u32> {
    from.try_get_u32_le().ok()
}

fn u64(from: &mut Bytes) -> Option<u64> {
    from.try_get_u64_le().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyweir_engine::record::Arena;

    fn request(key: Option<&[u8]>) -> Request {
        let origin = Origin { shard: ShardIndex(0), offset: Offset(7), timestamp: -1 };
        let headers = [("a", Some(&b"1"[..])), ("none", None)];
        Request {
            record: Arena::new().record(origin, key, Some(b"value"), headers.into_iter()),
            shard: Arc::new(ShardId::new("a/b", 3)),
            attempt: Attempt(2),
            fence: Fence::new(1, 9),
            time_left: Some(Duration::from_millis(1500)),
            key_hash: key.map(|_| 17),
        }
    }

    fn frames() -> Vec<Frame> {
        let failure = Failure::new("HandlerFailed", "no");
        let record = NewRecord {
            value: Some(Bytes::from_static(b"v")),
            headers: vec![("h".to_owned(), None)],
            timestamp: Some(-3),
            ..NewRecord::default()
        };
        let output = Output { name: "out".to_owned(), record };
        let after = Some(Duration::from_secs(3));
        let outcomes = [
            Outcome { verdict: Verdict::Done, outputs: vec![output] },
            Outcome::from(Verdict::Retry { after: None, failure: failure.clone() }),
            Outcome::from(Verdict::Reject(failure.clone())),
            Outcome::from(Verdict::Unavailable { after, failure }),
        ];
        let ends = outcomes.map(End::Answered).into_iter().chain([End::Busy, End::Refused, End::Cancelled]);
        let mut frames: Vec<_> = ends.map(|end| Frame::Ended(5, end)).collect();
        frames.extend([Frame::Welcome, Frame::Ask(4), Frame::Granted(4, Duration::from_secs(2))]);
        frames.extend([Frame::Cancel(u64::MAX)]);
        frames.extend(
            [None, Some(&b"k"[..])].map(|key| Frame::Run(Run { id: 9, route: 1, request: request(key) })),
        );
        frames
    }

    #[test]
    fn frames_read_back_and_half_ones_are_none() {
        let mut all = BytesMut::new();
        for frame in frames() {
            let mut bytes = BytesMut::new();
            frame.put(&mut bytes);
            all.extend_from_slice(&bytes);
            for cut in 0..bytes.len() {
                assert_eq!(Frame::take(&mut Bytes::copy_from_slice(&bytes[..cut])), None, "{frame:?}");
            }
        }
        let mut all = all.freeze();
        for frame in frames() {
            assert_eq!(Frame::take(&mut all), Some(frame));
        }
        assert!(all.is_empty() && Frame::take(&mut Bytes::from_static(&[9])).is_none());
    }

    #[test]
    fn a_request_comes_as_it_was_sent() {
        let sent = request(Some(b"k"));
        let mut bytes = BytesMut::new();
        put_run(&mut bytes, &Run { id: 1, route: 0, request: sent.clone() });
        let came = run(&mut bytes.freeze()).expect("it reads").request;
        assert_eq!((came.shard, came.fence, came.time_left), (sent.shard, sent.fence, sent.time_left));
        assert_eq!((came.attempt, came.key_hash, came.record), (sent.attempt, sent.key_hash, sent.record));
    }
}
