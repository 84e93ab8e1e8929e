//! Routing by key between members whose wires are in memory, in paused time: grants, fences, freezes, losses, strangers.

#[path = "routing/village.rs"]
mod village;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use keyweir_engine::ownership::Roll;
use keyweir_engine::ownership::values::WireValue;
use keyweir_engine::ports::{Handler, Request};
use keyweir_engine::pump::DispatchLimit;
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{NewRecord, Outcome, Output, Verdict};
use keyweir_routing::{Couriers, Routed, Router, RoutingStats, VERSIONS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use village::{LEASE, SOON, Shared, Village, id, request, value};

/// More workers than partitions are useful: the keys of one shard execute on all of them.
#[tokio::test(start_paused = true)]
async fn records_execute_where_their_key_maps_to_and_answers_come_back_whole() {
    let village = Village::with(3, 8, |number, request| {
        async move {
            let record = NewRecord { value: request.record.value_bytes(), ..NewRecord::default() };
            let output = Output { name: format!("from-{number}"), record };
            Outcome { verdict: Verdict::Done, outputs: vec![output] }
        }
        .boxed()
    })
    .await;
    let keys: Vec<String> = (0..60).map(|number| format!("key-{number}")).collect();
    let outcomes = join_all(keys.iter().zip(0..).map(|(key, offset)| village.send(0, key, offset))).await;
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    for (offset, outcome) in (0..).zip(&outcomes) {
        let [(member, Some(true))] = village.ends_of(offset)[..] else {
            unreachable!("each executes once: {:?}", village.ends_of(offset))
        };
        assert_eq!(outcome.outputs[0].name, format!("from-{member}"));
        assert_eq!(outcome.outputs[0].record.value.as_deref(), Some(&b"v"[..]));
        *of.entry(outcome.outputs[0].name.clone()).or_default() += 1;
    }
    assert!(of.len() == 3 && of.values().all(|count| *count > 5), "{of:?}");
    // The same key goes the same way, whoever owns the record.
    let again = join_all(keys.iter().zip(100..).map(|(key, offset)| village.send(1, key, offset))).await;
    assert_eq!(again, outcomes);
    let routed = village.members[0].stats.now().routed as usize;
    assert_eq!(routed, 60 - of["from-0"]);
}

/// Section 3: the owner re-routes only when the target's member key is gone; until then the key waits.
#[tokio::test(start_paused = true)]
async fn the_key_of_a_frozen_target_waits_until_its_member_key_is_gone() {
    let village = Village::new(2, 8, Duration::from_secs(10)).await;
    let key = village.key_of(1).await;
    let mut record = tokio::spawn(village.send(0, &key, 7));
    sleep(SOON).await;
    village.members[1].frozen.send_replace(true);
    assert!(timeout(Duration::from_secs(600), &mut record).await.is_err(), "nobody knows that it has ended");
    assert_eq!(village.ends_of(7), vec![]);
    village.tell(|members| drop(members.remove(&id(1)))).await;
    assert_eq!(record.await.expect("no panic").verdict, Verdict::Done);
    assert_eq!(village.ends_of(7), [(0, Some(true))]);
    assert_eq!(village.members[0].stats.now().rerouted, 1);
    // Thawed, it finds its handler ready and its grant over.
    village.members[1].frozen.send_replace(false);
    sleep(SOON).await;
    assert_eq!(village.ends_of(7), [(0, Some(true)), (1, None)]);
    assert_eq!(*village.members[1].hosted.borrow(), 0);
}

/// A member whose own lease ends is gone for the others soon: it executes nothing for them then.
#[tokio::test(start_paused = true)]
async fn a_target_cancels_when_its_own_lease_is_over() {
    let village = Village::new(2, 8, Duration::from_secs(600)).await;
    let key = Village::new(2, 8, Duration::ZERO).await.key_of(1).await;
    let record = tokio::spawn(village.send(0, &key, 7));
    sleep(SOON).await;
    assert_eq!(*village.members[1].hosted.borrow(), 1);
    village.members[1].renewed.send_replace(false);
    let mut hosted = village.members[1].hosted.clone();
    let over = timeout(LEASE, hosted.wait_for(|count| *count == 0));
    over.await.expect("in time").expect("it runs");
    assert_eq!(village.ends_of(7), [(1, None)]);
    record.abort();
}

/// Section 3: a grant never lasts longer than the owner's lease, and the target cancels at its end.
#[tokio::test(start_paused = true)]
async fn a_grant_ends_no_later_than_the_lease_it_stands_on() {
    let village = Village::new(2, 8, Duration::from_secs(600)).await;
    let key = Village::new(2, 8, Duration::ZERO).await.key_of(1).await;
    let _record = tokio::spawn(village.send(0, &key, 7));
    sleep(LEASE * 20).await;
    assert_eq!(*village.members[1].hosted.borrow(), 1, "as long as it is renewed");
    village.members[0].renewed.send_replace(false);
    let end = Instant::now() + LEASE;
    let mut hosted = village.members[1].hosted.clone();
    hosted.wait_for(|count| *count == 0).await.expect("it runs");
    assert!(Instant::now() <= end, "{:?} too late", Instant::now() - end);
    assert_eq!(village.ends_of(7), [(1, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_is_older_than_the_newest_is_refused_and_its_record_executes_where_it_was_read() {
    let village = Village::new(2, 8, Duration::from_millis(10)).await;
    let key = village.key_of(1).await;
    assert_eq!(village.send_under(0, &key, 1, 9).await.verdict, Verdict::Done);
    assert_eq!(village.send_under(0, &key, 2, 8).await.verdict, Verdict::Done);
    assert_eq!((village.ends_of(1), village.ends_of(2)), (vec![(1, Some(true))], vec![(0, Some(true))]));
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused_and_counted() {
    let village = Village::new(2, 8, Duration::ZERO).await;
    let post = village.net.0.lock().expect("no test panics with it")["pod-1:7070"].clone();
    let mut browser = post.accept();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: pod-1\r\n\r\n").await.expect("it takes it");
    assert_eq!(browser.read_to_end(&mut Vec::new()).await.ok(), Some(0), "it hangs up without a word");
    let mut silent = post.accept();
    assert_eq!(silent.read_to_end(&mut Vec::new()).await.ok(), Some(0), "nobody is waited for");
    sleep(SOON).await;
    assert_eq!(village.members[1].stats.now().refused, 1);

    // A member with another secret gets nothing executed there: its records execute where they were read.
    let roll_to = watch::Sender::new(None);
    let couriers = Couriers::new(
        "/kw/shop/orders/".into(),
        Arc::new(village.net.clone()),
        Arc::new(Shared(b"what strangers would guess")),
        roll_to.subscribe(),
        DispatchLimit::default(),
        Arc::new(RoutingStats::default()),
    );
    let router = Arc::new(Router::new(Arc::clone(&village.members[0].hosting), &couriers));
    let handler = Arc::new(FnHandler::new(|_| async { Outcome::DONE }));
    let routed = Routed::by(router, handler, 0);
    tokio::spawn(couriers.run(CancellationToken::new()));
    let members = (0..2).map(|number| (id(number), value(number))).collect();
    let key = village.key_of(1).await;
    roll_to.send_replace(Some(Arc::new(Roll { me: id(0), members })));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(routed.handle(request(&key, 3, 5)).await.verdict, Verdict::Done);
    assert_eq!(village.ends_of(3), [(0, Some(true))]);
    assert!(village.members[1].stats.now().refused > 1);
}

/// Section 3: a full target answers busy at once.
#[tokio::test(start_paused = true)]
async fn a_full_target_says_so_and_all_its_records_execute_there_in_the_end() {
    let village = Village::new(2, 2, Duration::from_millis(100)).await;
    let records = (0..200).map(|number| village.send(0, &format!("key-{number}"), number));
    assert!(join_all(records).await.iter().all(|outcome| outcome.verdict == Verdict::Done));
    assert!((0..200).all(|offset| village.ends_of(offset).len() == 1));
    let counted = village.members[0].stats.now();
    assert!(counted.busy > 0 && counted.rerouted == 0 && counted.routed > 60, "{counted:?}");
    assert_eq!(village.members[1].stats.now().hosted, counted.routed);
}

/// A target that is full for a moment does not make its courier rest while its seats come free. Twice as many calls as
/// there are seats are under way, as the pump has them; keys are spread by chance.
#[tokio::test(start_paused = true)]
async fn while_there_are_records_for_them_hardly_a_seat_is_free() {
    const MEMBERS: usize = 4;
    const SEATS: usize = 64;
    const TAKES: Duration = Duration::from_millis(10);
    let village = Arc::new(Village::new(MEMBERS, SEATS, TAKES).await);
    let end = Instant::now() + Duration::from_secs(2);
    let calls = (0..2 * MEMBERS * SEATS).map(|call| {
        let village = Arc::clone(&village);
        tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                let key = format!("key-{call}-{}", done % 4);
                village.send(0, &key, 0).await;
                done += 1;
            }
            done
        })
    });
    let done: usize = join_all(calls).await.into_iter().map(|call| call.expect("no panic")).sum();
    let most = MEMBERS * SEATS * 2000 / TAKES.as_millis() as usize;
    assert!(done * 20 >= most * 19, "{done} of {most}: {:?}", village.members[0].stats.now());
}

#[tokio::test(start_paused = true)]
async fn a_leaving_target_finishes_what_it_has_and_takes_nothing_new() {
    let village = Village::new(2, 8, Duration::from_secs(5)).await;
    let key = village.key_of(1).await;
    let begun = tokio::spawn(village.send(0, &key, 7));
    sleep(SOON).await;
    village.members[1].leave.cancel();
    let other = village.send(0, &key, 8);
    assert_eq!(other.await.verdict, Verdict::Done);
    assert_eq!(begun.await.expect("no panic").verdict, Verdict::Done);
    assert_eq!((village.ends_of(7), village.ends_of(8)), (vec![(1, Some(true))], vec![(0, Some(true))]));
}

/// A time-out counts where the record executes, and frees the key only when it has ended there.
#[tokio::test(start_paused = true)]
async fn a_time_out_is_the_targets_to_tell() {
    let village = Village::new(2, 8, Duration::from_secs(600)).await;
    let key = Village::new(2, 8, Duration::ZERO).await.key_of(1).await;
    let routed = Arc::clone(&village.members[0].routed);
    let limited = Request { time_left: Some(Duration::from_secs(3)), ..request(&key, 7, 5) };
    let outcome = routed.handle(limited).await;
    assert!(
        matches!(&outcome.verdict, Verdict::Retry { failure, .. } if failure.reason == "HandlerTimeout"),
        "{outcome:?}"
    );
    assert_eq!(village.ends_of(7), [(1, Some(false))]);
}

/// A record that kills its targets goes down its road: the first loss is nobody's fault, the second costs an attempt.
#[tokio::test(start_paused = true)]
async fn the_second_target_that_is_lost_costs_an_attempt() {
    let village = Village::new(3, 8, Duration::from_secs(600)).await;
    let key = Village::new(3, 8, Duration::ZERO).await.key_of(1).await;
    let mut record = tokio::spawn(village.send(0, &key, 7));
    let kill = |number: usize| {
        let member = &village.members[number];
        member.frozen.send_replace(true);
        member.serving.lock().expect("no test panics with it").drain(..).for_each(|task| task.abort());
    };
    sleep(SOON).await;
    let second = match *village.members[2].hosted.borrow() {
        0 => 1,
        _ => 2,
    };
    assert_eq!(*village.members[second].hosted.borrow(), 1);
    kill(second);
    village.tell(|members| drop(members.remove(&id(second)))).await;
    sleep(SOON).await;
    let other = 3 - second;
    if *village.members[other].hosted.borrow() == 0 {
        // It goes on where it was read: that one is not lost.
        assert!(timeout(SOON, &mut record).await.is_err());
        return;
    }
    kill(other);
    village.tell(|members| members.retain(|member, _| *member == id(0))).await;
    let outcome = record.await.expect("no panic");
    assert!(
        matches!(&outcome.verdict, Verdict::Retry { failure, .. } if failure.reason == "TargetLost"),
        "{outcome:?}"
    );
}

/// A stream that breaks: the target has ended all of it before it is welcoming again, and only then is it executed anew.
#[tokio::test(start_paused = true)]
async fn a_broken_wire_is_mended_and_what_was_lost_executes_once_more() {
    let village = Village::new(2, 8, Duration::from_secs(5)).await;
    let key = village.key_of(1).await;
    let record = tokio::spawn(village.send(0, &key, 7));
    sleep(SOON).await;
    let tasks: Vec<_> =
        village.members[1].serving.lock().expect("no test panics with it").drain(..).collect();
    tasks.iter().for_each(JoinHandle::abort);
    assert_eq!(record.await.expect("no panic").verdict, Verdict::Done);
    assert_eq!(village.ends_of(7), [(1, None), (1, Some(true))]);
    assert_eq!(village.members[0].stats.now().rerouted, 1);
}

/// What nobody waits for any more is cancelled where it executes.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_given_up_ends_at_its_target() {
    let village = Village::new(2, 8, Duration::from_secs(600)).await;
    let key = Village::new(2, 8, Duration::ZERO).await.key_of(1).await;
    let record = tokio::spawn(village.send(0, &key, 7));
    sleep(SOON).await;
    record.abort();
    let mut hosted = village.members[1].hosted.clone();
    timeout(SOON, hosted.wait_for(|count| *count == 0)).await.expect("in time").expect("it runs");
    assert_eq!(village.ends_of(7), [(1, None)]);
}

/// Section 3.9: members that speak no common version, or would do something else with a record, get none.
#[tokio::test(start_paused = true)]
async fn members_of_other_versions_or_with_other_handlers_are_not_routed_to() {
    let village = Village::new(3, 8, Duration::ZERO).await;
    let told = village.tell(|members| {
        let wire = |number: usize| WireValue {
            oldest: VERSIONS.1 + number as u16,
            newest: VERSIONS.1 + number as u16,
            handlers: "h".into(),
        };
        for (number, member) in members.values_mut().enumerate() {
            member.wire = Some(wire(usize::from(number == 1)));
        }
        if let Some(wire) = members.get_mut(&id(2)).and_then(|member| member.wire.as_mut()) {
            wire.handlers = "others".into();
        }
    });
    told.await;
    let records = (0..40).map(|number| village.send(0, &format!("key-{number}"), number));
    join_all(records).await;
    assert!((0..40).all(|offset| village.ends_of(offset) == [(0, Some(true))]));
    assert_eq!(village.members[0].stats.now().routed, 0);
    village.members.iter().for_each(|member| member.couriers.abort());
}
