//! What the ledger answers in plain and in hostile cases. Its laws are in `tests/laws`.

use super::*;

fn charge(ledger: &mut Ledger, offset: i64) -> Seq {
    match ledger.charge(Offset(offset)) {
        Charge::New(seq) => seq,
        other => panic!("{offset} is {other:?}"),
    }
}

fn ranges(ledger: &Ledger) -> Vec<(i64, i64)> {
    ledger.completed_above().iter().map(|r| (r.start.0, r.end.0)).collect()
}

#[test]
fn the_frontier_waits_for_the_lowest_open_record() {
    let mut ledger = Ledger::new(Offset(10));
    let seqs: Vec<Seq> = (10..15).map(|offset| charge(&mut ledger, offset)).collect();
    assert_eq!(ledger.complete(seqs[1]), Completion::Done);
    assert_eq!(ledger.complete(seqs[3]), Completion::Done);
    assert_eq!((ledger.frontier(), ledger.outstanding()), (Offset(10), 3));
    assert_eq!(ranges(&ledger), [(11, 12), (13, 14)]);
    assert_eq!(ledger.complete(seqs[0]), Completion::Done);
    assert_eq!((ledger.frontier(), ranges(&ledger)), (Offset(12), vec![(13, 14)]));
    assert_eq!(ledger.complete(seqs[2]), Completion::Done);
    assert_eq!(ledger.complete(seqs[4]), Completion::Done);
    assert_eq!((ledger.frontier(), ledger.next_offset(), ledger.span()), (Offset(15), Offset(15), 0));
    assert_eq!(ledger.encoded_len_estimate(), 0);
}

#[test]
fn completing_twice_or_what_was_never_charged_changes_nothing() {
    let mut ledger = Ledger::new(Offset(0));
    let (first, second) = (charge(&mut ledger, 0), charge(&mut ledger, 1));
    ledger.complete(second);
    for (seq, answer) in
        [(second, Completion::Repeated), (Seq(2), Completion::Unknown), (Seq(u64::MAX), Completion::Unknown)]
    {
        assert_eq!(ledger.complete(seq), answer);
        assert_eq!((ledger.frontier(), ledger.outstanding()), (Offset(0), 1));
    }
    ledger.complete(first);
    assert_eq!(ledger.complete(first), Completion::Repeated);
    assert_eq!(ledger.frontier(), Offset(2));
}

#[test]
fn an_offset_read_twice_is_stale() {
    let mut ledger = Ledger::new(Offset(5));
    assert_eq!(ledger.charge(Offset(4)), Charge::Stale);
    let seq = charge(&mut ledger, 5);
    assert_eq!(ledger.charge(Offset(5)), Charge::Stale);
    ledger.complete(seq);
    assert_eq!(ledger.charge(Offset(5)), Charge::Stale);
    assert_eq!(ledger.charge(Offset(-1)), Charge::Stale);
    assert_eq!(ledger.charge(Offset(i64::MAX)), Charge::Stale);
}

#[test]
fn a_gap_costs_nothing_and_the_frontier_passes_it() {
    let far = 1_000_000_000_000;
    let mut ledger = Ledger::new(Offset(0));
    let (low, high) = (charge(&mut ledger, 0), charge(&mut ledger, far));
    assert_eq!(ledger.span(), 2);
    ledger.complete(low);
    assert_eq!(ledger.frontier(), Offset(far));
    ledger.complete(high);
    assert_eq!(ledger.frontier(), Offset(far + 1));
}

#[test]
fn trailing_markers_are_passed_when_nothing_is_outstanding() {
    let mut ledger = Ledger::new(Offset(0));
    let seq = charge(&mut ledger, 0);
    ledger.advance(Offset(3));
    assert_eq!((ledger.frontier(), ledger.next_offset()), (Offset(0), Offset(3)));
    assert_eq!(ledger.take_frontier(), None);
    ledger.complete(seq);
    assert_eq!(ledger.take_frontier(), Some(Offset(3)));
    ledger.advance(Offset(2));
    assert_eq!(ledger.take_frontier(), None);
    ledger.advance(Offset(9));
    assert_eq!(ledger.take_frontier(), Some(Offset(9)));
    assert_eq!(ledger.charge(Offset(8)), Charge::Stale);
}

#[test]
fn the_frontier_is_taken_once_for_each_change() {
    let mut ledger = Ledger::new(Offset(7));
    assert_eq!(ledger.take_frontier(), None);
    let (first, second) = (charge(&mut ledger, 7), charge(&mut ledger, 8));
    assert_eq!(ledger.take_frontier(), None);
    ledger.complete(second);
    assert_eq!(ledger.take_frontier(), Some(Offset(7)), "the completed set changed");
    assert_eq!(ledger.take_frontier(), None);
    ledger.mark_changed();
    assert_eq!(ledger.take_frontier(), Some(Offset(7)));
    ledger.complete(first);
    assert_eq!(ledger.take_frontier(), Some(Offset(9)));
}

#[test]
fn a_restored_ledger_knows_what_was_complete() {
    let completed =
        [(12, 14), (20, 23)].map(|(s, e)| OffsetRange::new(Offset(s), Offset(e))).into_iter().collect();
    let mut ledger = Ledger::restore(Offset(10), &completed);
    assert_eq!(ledger.next_offset(), Offset(10));
    assert_eq!(ranges(&ledger), [(12, 14), (20, 23)], "a crash now must not forget them");
    let seq = charge(&mut ledger, 10);
    assert_eq!(ledger.charge(Offset(12)), Charge::AlreadyComplete);
    assert_eq!(ledger.charge(Offset(13)), Charge::AlreadyComplete);
    assert_eq!(ranges(&ledger), [(11, 14), (20, 23)]);
    ledger.complete(seq);
    assert_eq!(ledger.frontier(), Offset(14));
    let seq = charge(&mut ledger, 15);
    assert_eq!(ledger.charge(Offset(22)), Charge::AlreadyComplete);
    ledger.complete(seq);
    assert_eq!((ledger.frontier(), ranges(&ledger)), (Offset(23), vec![]));
}

#[test]
fn a_record_stuck_at_the_bottom_costs_no_memory_for_what_passes_it() {
    let mut ledger = Ledger::new(Offset(0));
    let stuck = charge(&mut ledger, 0);
    for offset in 1..3_000_000 {
        let seq = charge(&mut ledger, offset);
        ledger.complete(seq);
        assert!(ledger.span() <= SLACK + BLOCK);
    }
    assert_eq!((ledger.frontier(), ledger.outstanding()), (Offset(0), 1));
    assert_eq!(ranges(&ledger), [(1, 3_000_000)]);
    assert!(ledger.encoded_len_estimate() < 12);
    ledger.complete(stuck);
    assert_eq!((ledger.frontier(), ledger.span()), (Offset(3_000_000), 0));
}

#[test]
fn a_hot_key_of_a_tenth_of_all_records_costs_entries_for_its_own_only() {
    let mut ledger = Ledger::new(Offset(0));
    let mut stuck = Vec::new();
    for offset in 0..1_000_000 {
        let seq = charge(&mut ledger, offset);
        if offset % 10 == 0 { stuck.push(seq) } else { assert_eq!(ledger.complete(seq), Completion::Done) }
    }
    assert_eq!(ledger.outstanding(), 100_000);
    assert!(ledger.span() < 110_000, "{}", ledger.span());
    assert_eq!(ledger.completed_above().len(), 100_000);
    for seq in stuck.iter().rev() {
        assert_eq!(ledger.complete(*seq), Completion::Done);
        assert!(ledger.span() <= 2 * ledger.outstanding() + 3 * SLACK);
    }
    assert_eq!(ledger.complete(stuck[7]), Completion::Repeated);
    assert_eq!((ledger.frontier(), ledger.span()), (Offset(1_000_000), 0));
}

#[test]
fn memory_of_a_burst_is_given_back() {
    let mut ledger = Ledger::new(Offset(0));
    let seqs: Vec<Seq> = (0..1_000_000).map(|offset| charge(&mut ledger, offset)).collect();
    assert_eq!(ledger.span(), 1_000_000);
    for seq in seqs.into_iter().rev() {
        ledger.complete(seq);
    }
    assert_eq!(ledger.take_frontier(), Some(Offset(1_000_000)));
    assert!(ledger.recent.capacity() <= 4 * SLACK);
}
