//! Which partitions there are, where they begin and end, and whose they are.

use keyweir_core::{Offset, ShardId};
use keyweir_e2e::kafka::{Record, unique};
use keyweir_e2e::{parts, wait};
use keyweir_engine::ports::{Bounds, Source, StartAt};
use keyweir_kafka::{KafkaSource, Mirroring};

use super::reading::{SOON, connection, eventually, old_topic, source};

#[tokio::test]
async fn partitions_are_listed_in_order_and_new_ones_are_found() {
    let kafka = parts::kafka().unwrap();
    let first = kafka.unique_topic("found-a", 3).unwrap();
    let second = kafka.unique_topic("found-b", 1).unwrap();
    let topics = vec![second.clone(), first.clone()];
    let source = KafkaSource::new(connection(kafka.bootstrap()), topics, "found", Mirroring::Mirror);
    let all = |partitions: u32| {
        let mut all = vec![ShardId::new(second.as_str(), 0)];
        all.extend((0..partitions).map(|index| ShardId::new(first.as_str(), index)));
        all
    };
    let found = eventually(|| source.shards(), Result::is_ok).await;
    assert_eq!(found.unwrap(), all(3));
    kafka.grow_topic(&first, 12).unwrap();
    eventually(|| source.shards(), |found| *found.as_ref().unwrap() == all(12)).await.unwrap();
}

#[tokio::test]
async fn bounds_and_starts_are_those_of_the_log() {
    let kafka = parts::kafka().unwrap();
    let topic = old_topic(&kafka, "bounds", 3);
    let at = |n: i64| Record { timestamp: Some(1_700_000_000_000 + n * 1_000), ..Record::new("k", "v") };
    kafka.produce(&topic, &(0..20).map(|n| at(n).on(1)).collect::<Vec<_>>()).unwrap();
    kafka.produce_transaction(&topic, &[at(30).on(2)], true).unwrap();
    kafka.delete_records(&topic, 1, 5).unwrap();

    let source = source(kafka.bootstrap(), &topic, "bounds");
    let shards = eventually(|| source.shards(), Result::is_ok).await.unwrap();
    let of = |first, end| Bounds { first: Offset(first), end: Offset(end) };
    assert_eq!(source.bounds(&shards).await.unwrap(), [of(0, 0), of(5, 20), of(0, 2)]);

    let one = &shards[1];
    assert_eq!(source.resolve(one, StartAt::Earliest).await.unwrap(), Offset(5));
    assert_eq!(source.resolve(one, StartAt::Latest).await.unwrap(), Offset(20));
    let time = |n: i64| StartAt::Timestamp(1_700_000_000_000 + n);
    assert_eq!(source.resolve(one, time(9_500)).await.unwrap(), Offset(10));
    assert_eq!(source.resolve(one, time(10_000)).await.unwrap(), Offset(10));
    assert_eq!(source.resolve(one, time(-1)).await.unwrap(), Offset(5));
    assert_eq!(source.resolve(one, time(60_000)).await.unwrap(), Offset(20));
    assert_eq!(source.resolve(&shards[0], time(0)).await.unwrap(), Offset(0));
    let missing = ShardId::new(topic.as_str(), 77);
    assert!(source.bounds(&[missing]).await.is_err());
}

#[tokio::test]
async fn a_topic_made_anew_has_another_id_in_the_same_cluster() {
    let kafka = parts::kafka().unwrap();
    let topic = unique("identity");
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let source = source(kafka.bootstrap(), &topic, "identity");
    let known = eventually(|| source.identity(&topic), Result::is_ok).await.unwrap();
    assert!(known.cluster.is_some() && known.stream.is_some(), "{known:?}");
    assert_eq!(source.identity(&topic).await.unwrap(), known);
    kafka.delete_topic(&topic).unwrap();
    wait::until("the topic made anew", SOON, || kafka.create_topic(&topic, 1, &[]).is_ok()).unwrap();
    let anew = eventually(|| source.identity(&topic), Result::is_ok).await.unwrap();
    assert_eq!(anew.cluster, known.cluster);
    assert_ne!(anew.stream, known.stream);
    assert!(source.identity(&unique("nowhere")).await.is_err());
}
