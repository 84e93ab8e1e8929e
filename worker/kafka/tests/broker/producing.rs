//! Durable writes: what is written is there, in order, where any client would put it.

use std::time::Duration;

use futures::future::join_all;
use keyweir_e2e::broker::Broker;
use keyweir_e2e::kafka::{Record, unique};
use keyweir_e2e::parts;
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{ProduceError, Producer};
use keyweir_kafka::KafkaProducer;

use super::reading::{SOON, connection, old_topic};

fn new(key: &str, value: &str) -> NewRecord {
    let (key, value) = (Some(key.to_owned().into()), Some(value.to_owned().into()));
    NewRecord { key, value, ..NewRecord::default() }
}

#[tokio::test]
async fn records_are_durable_in_order_and_as_they_were() {
    let kafka = parts::kafka().unwrap();
    let topic = old_topic(&kafka, "write", 4);
    let producer = KafkaProducer::new(connection(kafka.bootstrap()), SOON).unwrap();
    let writes = (0..1_000).map(|n| producer.produce(&topic, new(&format!("k{}", n % 10), &n.to_string())));
    for written in join_all(writes).await {
        written.unwrap();
    }
    let read = kafka.read_all(&topic, SOON).unwrap();
    assert_eq!(read.len(), 1_000);
    for key in 0..10 {
        let of: Vec<usize> = read
            .iter()
            .filter(|record| record.key == Some(format!("k{key}").into_bytes()))
            .map(|record| record.text().parse().unwrap())
            .collect();
        assert!(of.into_iter().eq((0..100).map(|n| n * 10 + key)));
    }

    let exact = NewRecord {
        key: None,
        value: None,
        headers: vec![("a".into(), Some("1".into())), ("b".into(), None), ("a".into(), Some("".into()))],
        partition: Some(3),
        timestamp: Some(1_700_000_000_000),
    };
    producer.produce(&topic, exact).await.unwrap();
    let read = kafka.read_all(&topic, SOON).unwrap();
    let last = read.iter().find(|record| !record.headers.is_empty()).unwrap();
    let header =
        |name: &str, value: Option<&str>| (name.to_owned(), value.map(|value| value.as_bytes().to_vec()));
    assert_eq!(last.headers, [header("a", Some("1")), header("b", None), header("a", Some(""))]);
    assert_eq!((last.partition, last.timestamp), (Some(3), Some(1_700_000_000_000)));
    assert_eq!((&last.key, &last.value), (&None, &None));
}

#[tokio::test]
async fn a_key_goes_where_javas_client_puts_it() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("murmur", 50).unwrap();
    let producer = KafkaProducer::new(connection(kafka.bootstrap()), SOON).unwrap();
    for key in
        ["21", "foobar", "a-little-bit-long-string", "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"]
    {
        producer.produce(&topic, new(key, "v")).await.unwrap();
    }
    for record in kafka.read_all(&topic, SOON).unwrap() {
        let hash = murmur2(record.key.as_deref().unwrap());
        assert_eq!(record.partition, Some((hash & 0x7fff_ffff) as i32 % 50));
    }
}

/// The hash of Kafka's own default partitioner, as its documentation describes it.
fn murmur2(bytes: &[u8]) -> u32 {
    let mix = 0x5bd1_e995u32;
    let mut hash = 0x9747_b28cu32 ^ bytes.len() as u32;
    let chunks = bytes.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut word = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(mix);
        word ^= word >> 24;
        hash = hash.wrapping_mul(mix) ^ word.wrapping_mul(mix);
    }
    for (at, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(mix);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(mix);
    hash ^ (hash >> 15)
}

#[tokio::test]
async fn what_can_never_be_written_is_refused_and_what_can_later_is_not() {
    let mut broker = Broker::start().unwrap();
    let topic = broker.unique_topic("refused", 1).unwrap();
    let producer = KafkaProducer::new(connection(broker.bootstrap()), Duration::from_secs(5)).unwrap();
    let large = new("k", &"x".repeat(3 << 20));
    let refused = producer.produce(&topic, NewRecord { headers: Vec::new(), ..incompressible(large) }).await;
    assert!(matches!(refused, Err(ProduceError::Refused { .. })), "{refused:?}");
    let invalid = producer.produce("not a topic", new("k", "v")).await;
    assert!(matches!(invalid, Err(ProduceError::Refused { .. })), "{invalid:?}");
    let missing = producer.produce(&unique("nowhere"), new("k", "v")).await;
    assert!(matches!(missing, Err(ProduceError::Unreachable { .. })), "{missing:?}");

    broker.down().unwrap();
    let unreachable = producer.produce(&topic, new("k", "lost")).await;
    assert!(matches!(unreachable, Err(ProduceError::Unreachable { .. })), "{unreachable:?}");
    broker.up().unwrap();
    producer.produce(&topic, new("k", "after")).await.unwrap();
    let values: Vec<String> = broker.read_all(&topic, SOON).unwrap().iter().map(Record::text).collect();
    assert_eq!(values, ["after"]);
}

/// The same size with bytes that compression can't make smaller.
fn incompressible(record: NewRecord) -> NewRecord {
    let mut state = 1u64;
    let length = record.value.as_ref().map_or(0, |value| value.len());
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(length)
    .collect();
    NewRecord { value: Some(bytes.into()), ..record }
}
