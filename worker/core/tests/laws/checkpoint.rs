//! Laws of range sets and checkpoints: what was written is read, and nothing else is.

use std::collections::BTreeSet;

use keyweir_core::{Attempt, Checkpoint, FailedRecord, Fence, Offset, OffsetRange, RangeSet, UnixMillis};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::laws;

fn range(start: i64, width: i64) -> OffsetRange {
    OffsetRange::new(Offset(start), Offset(start + width))
}

fn ranges_above(frontier: i64) -> impl Strategy<Value = RangeSet> {
    vec((0i64..5_000, 1i64..300), 0..200).prop_map(move |found| {
        found.into_iter().map(|(gap, width)| range(frontier + gap * 7, width)).collect()
    })
}

fn failed_above(frontier: i64) -> impl Strategy<Value = Vec<FailedRecord>> {
    prop::collection::btree_map(0i64..10_000, (any::<u32>(), any::<u64>(), "\\PC{0,40}"), 0..20).prop_map(
        move |found| {
            let record = |(offset, (attempts, not_before, reason))| FailedRecord {
                offset: Offset(frontier + offset),
                attempts: Attempt(attempts),
                not_before: UnixMillis(not_before),
                reason,
            };
            found.into_iter().map(record).collect()
        },
    )
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>());
    let words = (
        prop::option::of("\\PC{0,30}"),
        prop::option::of("[a-zA-Z0-9_-]{1,22}"),
        prop::option::of("\\PC{1,9}"),
        vec(any::<u8>(), 0..9),
    );
    let frontier = prop_oneof![0i64..1_000, Just(i64::MAX / 2)];
    frontier
        .prop_flat_map(|frontier| (Just(frontier), ranges_above(frontier), failed_above(frontier)))
        .prop_flat_map(move |(frontier, completed, failed)| {
            (numbers, words.clone()).prop_map(
                move |(
                    (epoch, revision, sequence, crash_takeovers),
                    (stopped, cluster_id, stream_id, notes),
                )| {
                    Checkpoint {
                        fence: Fence::new(epoch, revision),
                        sequence,
                        frontier: Offset(frontier),
                        completed: completed.clone(),
                        failed: failed.clone(),
                        stopped,
                        crash_takeovers,
                        cluster_id,
                        stream_id,
                        notes,
                    }
                },
            )
        })
}

/// Bytes that pass for a checkpoint until their content is read.
fn sealed(format: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Checkpoint::default().encode()[..3].to_vec();
    bytes.push(format);
    bytes.extend_from_slice(content);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(laws(512))]

    #[test]
    fn a_range_set_is_the_set_of_its_offsets(found in vec((0i64..200, 0i64..12), 0..40)) {
        let set: RangeSet = found.iter().map(|&(start, width)| range(start, width)).collect();
        let plain: BTreeSet<i64> = found.iter().flat_map(|&(start, width)| start..start + width).collect();
        prop_assert_eq!(set.width(), plain.len() as u64);
        for offset in 0..220 {
            prop_assert_eq!(set.contains(Offset(offset)), plain.contains(&offset));
        }
        let ranges: Vec<OffsetRange> = set.iter().collect();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "no two touch");
    }

    #[test]
    fn a_checkpoint_reads_as_it_was_written(written in checkpoint()) {
        prop_assert_eq!(Checkpoint::decode(&written.encode()), Ok(written.clone()));
        prop_assert_eq!(Checkpoint::decode_text(&written.encode_text()), Ok(written));
    }

    #[test]
    fn a_bounded_checkpoint_fits_and_tells_what_it_gave_up(written in checkpoint(), limit in 0usize..2_000) {
        if let Ok(fitted) = written.encode_text_within(limit) {
            prop_assert!(fitted.encoded.len() <= limit);
            let read = Checkpoint::decode_text(&fitted.encoded).unwrap();
            prop_assert_eq!((read.fence, read.sequence, read.frontier), (written.fence, written.sequence, written.frontier));
            prop_assert_eq!(read.completed.width() + fitted.replayed, written.completed.width());
            prop_assert!(read.completed.iter().eq(written.completed.iter().take(read.completed.len())));
            prop_assert_eq!(read.failed.len() + fitted.forgotten, written.failed.len());
        }
    }

    #[test]
    fn reading_never_panics_and_what_it_accepts_is_sound(
        bytes in vec(any::<u8>(), 0..200),
        text in "\\PC{0,60}",
        format in 0u8..5,
    ) {
        let _ = Checkpoint::decode(&bytes);
        let _ = Checkpoint::decode_text(&text);
        let _ = Checkpoint::decode_text(&format!("kwcp{text}"));
        if let Ok(accepted) = Checkpoint::decode(&sealed(format, &bytes)) {
            prop_assert!(accepted.completed.iter().all(|range| range.start >= accepted.frontier));
            prop_assert_eq!(Checkpoint::decode(&accepted.encode()), Ok(accepted));
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_refused(written in checkpoint(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = written.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Checkpoint::decode(&bytes).is_err());
    }
}
