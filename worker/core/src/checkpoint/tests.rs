//! What a checkpoint keeps, what it gives up, what it refuses.

use super::wire::{self, MAGIC};
use super::*;
use crate::ranges::OffsetRange;

fn checkpoint() -> Checkpoint {
    Checkpoint {
        fence: Fence::new(3, 1287),
        sequence: 42,
        frontier: Offset(1_000),
        completed: [(1_002, 1_010), (1_020, 5_000), (9_000, 9_001)].map(range).into_iter().collect(),
        failed: vec![
            failed(1_001, 2, "HandlerTimeout: no answer within 5 m"),
            failed(1_012, 1, "HandlerFailed: 500"),
        ],
        stopped: Some(String::new()),
        crash_takeovers: 1,
        cluster_id: Some("MkU3OEVBNTcwNTJENDM2Qk".to_owned()),
        stream_id: Some("Zr4mS0mPS7q7Wm6S3s1hCw".to_owned()),
        notes: vec![0, 255, 7],
    }
}

fn range((start, end): (i64, i64)) -> OffsetRange {
    OffsetRange::new(Offset(start), Offset(end))
}

fn failed(offset: i64, attempts: u32, reason: &str) -> FailedRecord {
    FailedRecord {
        offset: Offset(offset),
        attempts: Attempt(attempts),
        not_before: UnixMillis(1_770_000_000_000),
        reason: reason.to_owned(),
    }
}

/// Any content under a checksum that matches.
fn sealed(format: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(format);
    bytes.extend_from_slice(content);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn it_reads_as_it_is_written() {
    let written = checkpoint();
    assert_eq!(Checkpoint::decode(&written.encode()), Ok(written.clone()));
    let text = written.encode_text();
    assert!(text.is_ascii() && Checkpoint::is_text(&text));
    assert_eq!(Checkpoint::decode_text(&text), Ok(written));
    assert_eq!(Checkpoint::new(Fence::default(), Offset::ZERO).encode().len(), 13);
}

#[test]
fn what_lies_below_the_frontier_is_not_written() {
    let mut written = checkpoint();
    written.frontier = Offset(1_005);
    let read = Checkpoint::decode(&written.encode()).unwrap();
    assert_eq!(read.completed.iter().next(), Some(range((1_005, 1_010))));
    assert_eq!(read.failed.len(), 1);
}

#[test]
fn a_long_reason_is_cut_at_a_character_border() {
    let mut written = checkpoint();
    written.failed[0].reason = "ä".repeat(REASON_LIMIT) + "x";
    let read = Checkpoint::decode(&written.encode()).unwrap();
    assert_eq!(read.failed[0].reason, "ä".repeat(REASON_LIMIT / 2));
}

#[test]
fn a_bound_costs_reasons_first_then_the_highest_ranges_then_attempts() {
    let whole = checkpoint();
    let length = whole.encode().len();
    let exact = whole.encode_within(length).unwrap();
    assert_eq!((exact.replayed, exact.forgotten), (0, 0));
    assert_eq!(Checkpoint::decode(&exact.encoded), Ok(whole.clone()));

    let bare = whole.encode_within(length - 1).unwrap();
    assert_eq!((bare.replayed, bare.forgotten), (0, 0));
    let read = Checkpoint::decode(&bare.encoded).unwrap();
    assert!(read.completed == whole.completed && read.failed.iter().all(|f| f.reason.is_empty()));

    let tight = whole.encode_within(bare.encoded.len() - 1).unwrap();
    assert_eq!((tight.replayed, tight.forgotten), (1, 0));
    let least = (0..length).find_map(|limit| whole.encode_within(limit).ok()).unwrap();
    assert_eq!((least.replayed, least.forgotten), (8 + 3_980 + 1, 2));
    let read = Checkpoint::decode(&least.encoded).unwrap();
    assert_eq!(
        (read.frontier, read.fence, read.stopped),
        (whole.frontier, whole.fence, whole.stopped.clone())
    );

    let limit = least.encoded.len() - 1;
    let refused = whole.encode_within(limit);
    assert_eq!(refused, Err(EncodeError::TooSmall { limit, least: limit + 1 }));
}

#[test]
fn a_fitted_checkpoint_never_exceeds_its_bound() {
    let mut wide = checkpoint();
    wide.completed.extend((0..3_000).map(|n| range((10_000 + n * 300, 10_000 + n * 300 + 1 + n % 290))));
    for limit in (100..4_096).step_by(7) {
        let Ok(fitted) = wide.encode_text_within(limit) else { continue };
        assert!(fitted.encoded.len() <= limit);
        let read = Checkpoint::decode_text(&fitted.encoded).unwrap();
        assert_eq!(read.completed.width() + fitted.replayed, wide.completed.width());
    }
    let metadata = wide.encode_text_within(4_096).unwrap();
    assert!(metadata.encoded.len() > 4_090, "the bound is used: {}", metadata.encoded.len());
}

#[test]
fn any_flipped_bit_or_cut_is_refused() {
    let bytes = checkpoint().encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Checkpoint::decode(&flipped).is_err(), "bit {bit}");
    }
    for end in 0..bytes.len() {
        assert!(Checkpoint::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let reason = |bytes: &[u8]| Checkpoint::decode(bytes).unwrap_err().reason();
    let head = [0, 0, 0, 10, 0];
    assert_eq!(reason(b"{\"frontier\": 3}"), "CheckpointUnrecognised");
    assert_eq!(reason(&sealed(FORMAT + 2, &head)), "CheckpointTooNew");
    assert_eq!(reason(&sealed(0, &head)), "CheckpointMalformed");
    assert_eq!(reason(&sealed(1, &head[..4])), "CheckpointMalformed");
    assert_eq!(reason(&checkpoint().encode()[..40]), "CheckpointCorrupt");
    for ranges in [&[1, 0][..], &[1, 1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
        let mut content = head.to_vec();
        wire::put_section(&mut content, wire::tag::COMPLETED, ranges);
        assert_eq!(reason(&sealed(1, &content)), "CheckpointUnsorted", "{ranges:?}");
    }
    assert_eq!(Checkpoint::decode_text("kwcp!").unwrap_err().reason(), "CheckpointNotText");
    assert_eq!(Checkpoint::decode_text("reset by hand").unwrap_err().reason(), "CheckpointUnrecognised");
}

#[test]
fn the_next_format_is_read_without_what_it_adds() {
    let mut content = vec![3, 7, 5, 10, 0];
    wire::put_section(&mut content, 77, b"something new");
    let read = Checkpoint::decode(&sealed(FORMAT + 1, &content)).unwrap();
    assert_eq!(read, Checkpoint { sequence: 5, ..Checkpoint::new(Fence::new(3, 7), Offset(10)) });
    assert_eq!(
        Checkpoint::decode(&sealed(FORMAT, &content)),
        Err(DecodeError::Malformed { part: "sections" })
    );
}

#[test]
fn a_section_stands_at_most_once() {
    let mut content = vec![0, 0, 0, 10, 0];
    wire::put_section(&mut content, wire::tag::CLUSTER, b"a");
    wire::put_section(&mut content, wire::tag::CLUSTER, b"b");
    assert_eq!(
        Checkpoint::decode(&sealed(FORMAT, &content)),
        Err(DecodeError::Malformed { part: "sections" })
    );
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let ours = checkpoint();
    let (cluster, stream) = (ours.cluster_id.as_deref(), ours.stream_id.as_deref());
    assert_eq!(ours.check_identity(cluster, stream), Ok(()));
    assert_eq!(ours.check_identity(None, None), Ok(()));
    assert_eq!(Checkpoint::default().check_identity(cluster, stream), Ok(()));
    let elsewhere = ours.check_identity(Some("other"), stream).unwrap_err();
    assert_eq!(elsewhere.reason(), "CheckpointOfOtherCluster");
    let remade = ours.check_identity(cluster, Some("other")).unwrap_err();
    assert_eq!(remade.reason(), "CheckpointOfOtherTopic");
}
