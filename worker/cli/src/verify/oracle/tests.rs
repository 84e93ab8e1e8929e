//! Logs written by hand: one for each promise that can be broken, and for what is allowed.

use super::*;

fn line(wall_ms: u64, member: &str, fence: u64, step: Step, offset: Option<i64>, key: Option<u64>) -> Line {
    Line {
        step,
        topic: "orders".into(),
        partition: 0,
        offset,
        key: key.map(|key| format!("{key:016x}")),
        attempt: Some(1),
        verdict: None,
        aside: None,
        member: member.into(),
        fence: Fence::new(1, fence),
        monotonic_us: wall_ms * 1_000,
        wall_ms,
    }
}

/// A log in short: `a1 poll 5 k`, with member, fence, step, offset and key.
fn judge(log: &str) -> Findings {
    fed(log).finish(true)
}

fn fed(log: &str) -> Oracle {
    let mut oracle = Oracle::default();
    for (at, text) in log.lines().map(str::trim).filter(|text| !text.is_empty()).enumerate() {
        let words: Vec<_> = text.split(' ').collect();
        let (member, fence) = words[0].split_at(1);
        let offset = words.get(2).and_then(|offset| offset.parse().ok());
        let key = words.get(3).map(|key| u64::from(key.as_bytes()[0]));
        let (step, verdict) = match words[1] {
            "own" => (Step::Owned, None),
            "skip" => (Step::Skipped, None),
            "poll" => (Step::Polled, None),
            "start" => (Step::Started, None),
            "done" => (Step::Ended, Some(Ending::Done)),
            "take" => (Step::Running, None),
            "left" => (Step::Ran, Some(Ending::Done)),
            "drop" => (Step::Ran, Some(Ending::Cancelled)),
            "aside" => (Step::SetAside, None),
            "gone" => (Step::Gone, None),
            "fail" => (Step::Ended, Some(Ending::Retry)),
            _ => (Step::Ended, Some(Ending::Cancelled)),
        };
        let fence = fence.parse().expect("a fence");
        let mut line = line(10 * at as u64, member, fence, step, offset, key);
        line.verdict = verdict;
        oracle.take(&line);
    }
    oracle
}

fn counts(findings: &Findings) -> [u64; 4] {
    [&findings.lost, &findings.order, &findings.double_handling, &findings.double_ownership]
        .map(|broken| broken.count)
}

#[test]
fn a_plain_run_keeps_every_promise() {
    let findings = judge(
        "a1 own
         a1 poll 0 k
         a1 poll 1 k
         a1 poll 2 l
         a1 start 0 k
         a1 start 2 l
         a1 done 0 k
         a1 start 1 k
         a1 done 2 l
         a1 done 1 k",
    );
    assert!(findings.is_clean(), "{findings}");
    assert_eq!((findings.records, findings.done, findings.keys, findings.attempts), (3, 3, 2, 3));
}

#[test]
fn a_record_that_a_newer_owner_passes_is_lost() {
    let log = "a1 own\na1 poll 0 k\nb2 own\nb2 poll 1 l\nb2 start 1 l\nb2 done 1 l";
    assert_eq!(counts(&judge(log)), [1, 0, 0, 0]);
    assert_eq!(counts(&judge("a1 own\na1 poll 0 k\nb2 own\nb2 skip 0")), [1, 0, 0, 0]);
}

#[test]
fn what_the_last_owner_had_not_finished_is_unfinished_and_not_lost() {
    let findings = judge("a1 own\na1 poll 0 k\na1 poll 1 k\na1 start 0 k\na1 fail 0 k");
    assert!(findings.is_clean(), "{findings}");
    assert_eq!(findings.unfinished, 2);
}

#[test]
fn a_failed_record_is_lost_to_who_expects_it_unless_it_was_set_aside() {
    let sent = Sent { topic: "orders".to_owned(), partition: 0, offset: 0, key: None };
    for (log, lost) in [("a1 poll 0 k\na1 start 0 k\na1 fail 0 k", 1), ("a1 poll 0 k\na1 aside 0 k", 0)] {
        let mut oracle = fed(log);
        let mut findings = oracle.finish(false);
        oracle.expect(&sent, &mut findings);
        assert_eq!(counts(&findings), [lost, 0, 0, 0]);
    }
}

#[test]
fn a_record_that_was_sent_and_never_polled_is_lost() {
    let mut oracle = Oracle::default();
    let mut findings = oracle.finish(false);
    let sent = Sent { topic: "orders".to_owned(), partition: 0, offset: 7, key: None };
    oracle.expect(&sent, &mut findings);
    assert_eq!(counts(&findings), [1, 0, 0, 0]);
}

#[test]
fn passing_an_unfinished_record_of_the_key_is_an_order_violation() {
    let log = "a1 own\na1 poll 0 k\na1 poll 1 k\na1 start 1 k\na1 done 1 k\na1 start 0 k\na1 done 0 k";
    assert_eq!(counts(&judge(log)), [0, 2, 0, 0]);
}

#[test]
fn going_back_under_the_same_fence_is_an_order_violation() {
    let log = "a1 own\na1 poll 0 k\na1 poll 1 k\na1 start 0 k\na1 done 0 k\na1 start 1 k\na1 done 1 k\na1 start 0 k\na1 done 0 k";
    assert_eq!(counts(&judge(log))[1], 2);
}

#[test]
fn going_back_under_a_newer_fence_is_a_duplicate() {
    let findings = judge(
        "a1 own
         a1 poll 0 k
         a1 poll 1 k
         a1 start 0 k
         a1 done 0 k
         a1 start 1 k
         b2 own
         b2 poll 0 k
         b2 poll 1 k
         b2 start 0 k
         b2 done 0 k
         b2 start 1 k
         b2 done 1 k",
    );
    assert!(findings.is_clean(), "{findings}");
    assert_eq!((findings.duplicates, findings.fences), (1, 2));
}

#[test]
fn a_retry_blocks_its_key_and_may_be_repeated() {
    let log = "a1 own\na1 poll 0 k\na1 poll 1 k\na1 start 0 k\na1 fail 0 k\na1 start 0 k\na1 done 0 k\na1 start 1 k\na1 done 1 k";
    assert!(judge(log).is_clean());
}

#[test]
fn a_key_that_passes_a_record_which_is_tried_again_later_is_caught() {
    let log = "a1 own\na1 poll 0 k\na1 poll 1 k\na1 start 0 k\na1 fail 0 k\na1 start 1 k\na1 done 1 k\na1 start 0 k\na1 done 0 k";
    assert_eq!(counts(&judge(log)), [0, 2, 0, 0]);
}

#[test]
fn a_parked_record_may_be_released_out_of_its_order() {
    let parked = "a1 own\na1 poll 0 k\na1 poll 1 k\na1 start 0 k\na1 fail 0 k\na1 aside 0 k\na1 start 1 k\na1 done 1 k";
    assert_eq!(judge(parked).set_aside, 1);
    // By its owner, or by a later one that has read on.
    for released in [
        "a1 poll 0 k\na1 start 0 k\na1 done 0 k",
        "b2 own\nb2 poll 2 k\nb2 start 2 k\nb2 done 2 k\nb2 poll 0 k\nb2 start 0 k\nb2 done 0 k",
    ] {
        let findings = judge(&format!("{parked}\n{released}"));
        assert!(findings.is_clean(), "{findings}");
        assert_eq!(findings.set_aside, 0);
    }
}

#[test]
fn what_is_gone_from_the_log_is_neither_lost_nor_done_nor_in_the_way() {
    let log = "a1 own\na1 poll 0 k\na1 poll 1 k\na1 gone 0 k\na1 start 1 k\na1 done 1 k";
    let findings = judge(log);
    assert!(findings.is_clean(), "{findings}");
    assert_eq!((findings.gone, findings.done, findings.unfinished), (1, 1, 0));
    // Nor when somebody had sent it, or a newer owner goes on behind it.
    let mut oracle = fed(&format!("{log}\nb2 own\nb2 poll 2 k\nb2 start 2 k\nb2 done 2 k"));
    let mut findings = oracle.finish(true);
    let sent = Sent { topic: "orders".to_owned(), partition: 0, offset: 0, key: None };
    oracle.expect(&sent, &mut findings);
    assert_eq!(counts(&findings), [0; 4]);
    // Without that line it is an order violation and a loss.
    assert_eq!(counts(&judge(&log.replace("a1 gone 0 k\n", "")))[1], 1);
}

#[test]
fn two_records_of_a_key_at_once_are_double_handling() {
    let log = "a1 own\na1 poll 0 k\na1 poll 1 k\na1 start 0 k\na1 start 1 k\na1 done 0 k\na1 done 1 k";
    assert_eq!(counts(&judge(log))[2], 1);
}

#[test]
fn an_old_owner_that_still_executes_what_the_new_one_started_is_double_handling() {
    let log =
        "a1 own\na1 poll 0 k\na1 start 0 k\nb2 own\nb2 poll 0 k\nb2 start 0 k\na1 done 0 k\nb2 done 0 k";
    assert_eq!(counts(&judge(log)), [0, 0, 1, 0]);
}

#[test]
fn what_a_frozen_member_cancels_when_it_finds_out_is_counted_apart() {
    let log =
        "a1 own\na1 poll 0 k\na1 start 0 k\nb2 own\nb2 poll 0 k\nb2 start 0 k\na1 cancel 0 k\nb2 done 0 k";
    let findings = judge(log);
    assert!(findings.is_clean(), "{findings}");
    assert_eq!(findings.late, 1);
}

#[test]
fn a_record_that_ends_at_the_old_owner_before_its_key_goes_on_is_fine() {
    let log = "a1 own\na1 poll 0 k\na1 start 0 k\nb2 own\nb2 poll 0 k\nb2 poll 1 k\na1 done 0 k\nb2 start 1 k\nb2 done 1 k";
    assert!(judge(log).is_clean());
}

#[test]
fn two_owners_under_one_fence_are_double_ownership() {
    assert_eq!(counts(&judge("a1 own\nb1 own")), [0, 0, 0, 1]);
}

#[test]
fn an_older_fence_after_a_newer_one_is_double_ownership() {
    assert_eq!(counts(&judge("b2 own\na1 own")), [0, 0, 0, 1]);
}

#[test]
fn who_has_lost_a_shard_must_not_start_its_records() {
    let log = "a1 own\na1 poll 0 k\nb2 own\na1 start 0 k\na1 done 0 k";
    assert_eq!(counts(&judge(log)), [0, 0, 0, 1]);
}

#[test]
fn a_key_is_in_one_hand_whoever_executes_it() {
    let begun = "a1 own\na1 poll 5 k\na1 start 5 k\nb1 take 5 k\n";
    let plain = judge(&format!(
        "{begun}b1 left 5 k\na1 done 5 k\na1 poll 6 k\na1 start 6 k\nc1 take 6 k\nc1 left 6 k\na1 done 6 k"
    ));
    assert_eq!((counts(&plain), plain.late), ([0; 4], 0));
    // The first target was killed: it says nothing any more.
    let killed = judge(&format!("{begun}c1 take 5 k\nc1 left 5 k\na1 done 5 k"));
    assert_eq!((counts(&killed), killed.late), ([0; 4], 0));
    // It was frozen, and found out.
    let frozen = judge(&format!("{begun}c1 take 5 k\nb1 drop 5 k\nc1 left 5 k\na1 done 5 k"));
    assert_eq!((counts(&frozen), frozen.late), ([0; 4], 1));
    let twice = judge(&format!("{begun}c1 take 5 k\nb1 left 5 k\nc1 left 5 k\na1 done 5 k"));
    assert_eq!(counts(&twice), [0, 0, 1, 0]);
}
