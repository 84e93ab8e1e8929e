//! The group's offset: mirrored, reset by others, refused while others subscribe.

use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, OffsetRange, ShardId};
use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::kafka::{Record, unique};
use keyweir_e2e::{parts, wait};
use keyweir_engine::ports::{CheckpointStore, Identity, Mirror, MirrorState, Source, SourceError};
use keyweir_kafka::GroupCheckpoints;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::reading::{SOON, connection, eventually, source};

fn mirror(topic: &str, index: u32, frontier: i64) -> Mirror {
    Mirror {
        shard: ShardId::new(topic, index),
        frontier: Offset(frontier),
        fence: Fence::new(2, 31),
        sequence: 7,
        log: None,
    }
}

#[tokio::test]
async fn a_mirror_is_read_by_tools_and_a_reset_by_tools_is_seen() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("mirror", 3).unwrap();
    let records: Vec<Record> = (0..30).map(|n| Record::new("k", "v").on(n % 3)).collect();
    kafka.produce(&topic, &records).unwrap();
    let group = unique("mirror");
    let source = source(kafka.bootstrap(), &topic, &group);
    let shards = source.shards().await.unwrap();
    assert_eq!(source.mirrored(&shards).await.unwrap(), [MirrorState::Absent; 3]);

    source.mirror(vec![mirror(&topic, 0, 4), mirror(&topic, 2, 10)]).await.unwrap();
    let marked =
        |frontier| MirrorState::Marked { frontier: Offset(frontier), fence: Fence::new(2, 31), sequence: 7 };
    assert_eq!(source.mirrored(&shards).await.unwrap(), [marked(4), MirrorState::Absent, marked(10)]);
    let seen = kafka.committed(&group, &topic).unwrap();
    assert_eq!(seen.iter().map(|one| one.offset).collect::<Vec<_>>(), [Some(4), None, Some(10)]);
    assert_eq!(kafka.lag(&group, &topic).unwrap(), 6 + 10);

    kafka.commit(&group, &topic, 0, 1, "").unwrap();
    kafka.commit(&group, &topic, 1, 9, "somebody's note").unwrap();
    let reset = |offset| MirrorState::Reset(Offset(offset));
    assert_eq!(source.mirrored(&shards).await.unwrap(), [reset(1), reset(9), marked(10)]);
    source.mirror(Vec::new()).await.unwrap();
}

/// Between a mirror and the next one a topic can be deleted and made anew: its offsets mean other records then.
#[tokio::test]
async fn a_frontier_of_a_topic_that_was_made_anew_is_not_shown() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("anew", 1).unwrap();
    let group = unique("anew");
    let source = source(kafka.bootstrap(), &topic, &group);
    let shards = eventually(|| source.shards(), Result::is_ok).await.unwrap();
    let log = eventually(|| source.identity(&topic), Result::is_ok).await.unwrap().stream;
    let at = |frontier, log: &Option<String>| Mirror { log: log.clone(), ..mirror(&topic, 0, frontier) };
    source.mirror(vec![at(4, &log)]).await.unwrap();
    assert!(matches!(source.mirrored(&shards).await.unwrap()[0], MirrorState::Marked { .. }));
    kafka.delete_topic(&topic).unwrap();
    wait::until("the topic made anew", SOON, || kafka.create_topic(&topic, 1, &[]).is_ok()).unwrap();
    let is_other =
        |found: &Result<Identity, SourceError>| found.as_ref().is_ok_and(|found| found.stream != log);
    let anew = eventually(|| source.identity(&topic), is_other).await.unwrap().stream;
    source.mirror(vec![at(5, &log)]).await.unwrap();
    assert_eq!(source.mirrored(&shards).await.unwrap(), [MirrorState::Absent]);
    source.mirror(vec![at(1, &anew)]).await.unwrap();
    assert!(matches!(
        source.mirrored(&shards).await.unwrap()[0],
        MirrorState::Marked { frontier: Offset(1), .. }
    ));
}

#[tokio::test]
async fn a_reset_is_only_replaced_by_the_mirror_that_stands_there() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("reset", 2).unwrap();
    let group = unique("reset");
    let source = source(kafka.bootstrap(), &topic, &group);
    let shards = eventually(|| source.shards(), Result::is_ok).await.unwrap();
    source.mirror(vec![mirror(&topic, 0, 4), mirror(&topic, 1, 4)]).await.unwrap();
    kafka.commit(&group, &topic, 0, 2, "").unwrap();
    source.mirror(vec![mirror(&topic, 0, 5), mirror(&topic, 1, 5)]).await.unwrap();
    let offsets =
        || -> Vec<_> { kafka.committed(&group, &topic).unwrap().iter().map(|one| one.offset).collect() };
    assert_eq!(offsets(), [Some(2), Some(5)]);
    assert_eq!(source.mirrored(&shards).await.unwrap()[0], MirrorState::Reset(Offset(2)));
    source.mirror(vec![mirror(&topic, 0, 3)]).await.unwrap();
    assert_eq!(offsets(), [Some(2), Some(5)]);
    source.mirror(vec![mirror(&topic, 0, 2)]).await.unwrap();
    source.mirror(vec![mirror(&topic, 0, 3)]).await.unwrap();
    assert_eq!(offsets(), [Some(3), Some(5)]);
}

#[tokio::test]
async fn a_checkpoint_too_large_for_an_offset_keeps_what_costs_most() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("too-large", 1).unwrap();
    let shard = ShardId::new(topic.as_str(), 0);
    let store = GroupCheckpoints::new(connection(kafka.bootstrap()), &unique("too-large"));
    let mut checkpoint = Checkpoint::new(Fence::new(0, 1), Offset(10));
    for n in 0..5_000 {
        let start = 11 + n * 200;
        checkpoint.completed.insert(OffsetRange { start: Offset(start), end: Offset(start + 100) });
    }
    let saved = eventually(|| store.save(vec![(shard.clone(), checkpoint.clone())]), Result::is_ok).await;
    saved.unwrap();
    let loaded = store.load(std::slice::from_ref(&shard)).await.unwrap().swap_remove(0).unwrap();
    assert_eq!((loaded.frontier, loaded.fence), (checkpoint.frontier, checkpoint.fence));
    let kept: Vec<_> = loaded.completed.above(Offset(10)).collect();
    let whole: Vec<_> = checkpoint.completed.above(Offset(10)).collect();
    assert!(kept.len() > 500, "{} ranges kept", kept.len());
    assert_eq!(kept, whole[..kept.len()], "the lowest ones are kept");
}

#[tokio::test]
async fn a_group_with_subscribed_members_is_refused_with_a_way_out() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("in-use", 1).unwrap();
    let group = unique("in-use");
    let member: BaseConsumer = kafka.config().set("group.id", &group).create().unwrap();
    member.subscribe(&[&topic]).unwrap();
    let joined = || {
        let _ = member.poll(Duration::from_millis(100));
        member.assignment().is_ok_and(|list| list.count() == 1)
    };
    wait::until("a member", SOON, joined).unwrap();

    let source = source(kafka.bootstrap(), &topic, &group);
    let refused = source.mirror(vec![mirror(&topic, 0, 0)]).await.unwrap_err();
    assert!(matches!(refused, SourceError::Refused { .. }), "{refused:?}");
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("live members that subscribe"), "{why}");

    drop(member);
    source.mirror(vec![mirror(&topic, 0, 0)]).await.unwrap();
}

#[tokio::test]
#[ignore = "takes two minutes: brokers count an offset's age in minutes"]
async fn offsets_of_idle_partitions_are_written_again_before_the_broker_forgets_them() {
    let options = BrokerOptions::default()
        .property("offsets.retention.minutes", "1")
        .property("offsets.retention.check.interval.ms", "1000");
    let broker = Broker::start_with(options).unwrap();
    let topic = broker.unique_topic("idle", 1).unwrap();
    let kept = source(broker.bootstrap(), &topic, "kept").refreshing_every(Duration::from_secs(20));
    let forgotten = source(broker.bootstrap(), &topic, "forgotten");
    let shards = eventually(|| kept.shards(), Result::is_ok).await.unwrap();
    for source in [&kept, &forgotten] {
        source.mirror(vec![mirror(&topic, 0, 0)]).await.unwrap();
    }
    for _ in 0..24 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        kept.mirrored(&shards).await.unwrap();
    }
    assert_eq!(forgotten.mirrored(&shards).await.unwrap(), [MirrorState::Absent]);
    assert!(matches!(kept.mirrored(&shards).await.unwrap()[0], MirrorState::Marked { .. }));
}
