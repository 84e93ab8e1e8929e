//! The real parts themselves: what other tests take for granted of the broker and of etcd.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

use std::time::Duration;

use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::kafka::{Record, unique};
use keyweir_e2e::{parts, wait};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

const SOON: Duration = Duration::from_secs(30);

fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::new(&format!("key-{}", n % 7), &n.to_string())).collect()
}

#[test]
fn the_shared_broker_stores_records_and_offsets() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("parts", 3).unwrap();
    kafka.produce(&topic, &records(100)).unwrap();
    kafka.produce(&topic, &[Record::default().on(2).header("name", "value")]).unwrap();
    let read = kafka.read_all(&topic, SOON).unwrap();
    assert_eq!(read.len(), 101);
    let bare = read.iter().find(|record| record.value.is_none()).unwrap();
    assert_eq!((bare.partition, bare.header_text("name").as_deref()), (Some(2), Some("value")));

    let group = unique("group");
    kafka.commit(&group, &topic, 1, 5, "by hand").unwrap();
    let committed = kafka.committed(&group, &topic).unwrap();
    assert_eq!(committed.iter().map(|one| one.offset).collect::<Vec<_>>(), [None, Some(5), None]);
    assert_eq!(committed[1].metadata, "by hand");
    assert_eq!(kafka.lag(&group, &topic).unwrap(), 96);
}

#[test]
fn transactions_leave_gaps_that_readers_do_not_see() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("parts", 1).unwrap();
    kafka.produce_transaction(&topic, &records(3), true).unwrap();
    kafka.produce_transaction(&topic, &records(2), false).unwrap();
    kafka.produce(&topic, &records(1)).unwrap();
    let offsets: Vec<i64> = kafka.read_all(&topic, SOON).unwrap().iter().map(|read| read.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 7]);
    kafka.delete_records(&topic, 0, 2).unwrap();
    assert_eq!(kafka.ends(&topic).unwrap(), [(2, 8)]);
    kafka.grow_topic(&topic, 4).unwrap();
    wait::until("four partitions", SOON, || kafka.ends(&topic).is_ok_and(|ends| ends.len() == 4)).unwrap();
    kafka.delete_topic(&topic).unwrap();
}

#[test]
fn a_broker_keeps_its_records_through_restart_and_kill() {
    let mut broker = Broker::start().unwrap();
    let topic = broker.unique_topic("parts", 1).unwrap();
    let address = broker.bootstrap().to_owned();
    for (round, kill) in [(1, false), (2, true)] {
        broker.produce(&topic, &records(10)).unwrap();
        if kill {
            broker.kill9().unwrap()
        } else {
            broker.down().unwrap()
        }
        assert!(!wait::answers(&address));
        broker.up().unwrap();
        assert_eq!(broker.read_all(&topic, SOON).unwrap().len(), round * 10);
    }
    broker.pause().unwrap();
    broker.resume().unwrap();
    broker.produce(&topic, &records(1)).unwrap();
}

#[test]
fn a_broker_speaks_tls_and_knows_its_users() {
    let broker = Broker::start_with(BrokerOptions::default().denying_bob()).unwrap();
    let topic = broker.unique_topic("parts", 1).unwrap();
    let ca = broker.authority().ca().display().to_string();
    let seen_by = |patience: Duration, address: String, settings: &[(&str, &str)]| {
        let mut config = broker.config();
        config.set("bootstrap.servers", address);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.fetch_metadata(Some(&topic), patience).map(|found| found.topics()[0].error())
    };
    let sasl = |name, password, mechanism| {
        [("sasl.username", name), ("sasl.password", password), ("sasl.mechanism", mechanism)]
    };
    let over = |protocol: &'static str, more: &[(&'static str, &'static str)]| {
        [&[("security.protocol", protocol)], more].concat()
    };
    let alice = sasl("alice", "alice-secret", "PLAIN");
    let bob = sasl("bob", "bob-secret", "SCRAM-SHA-512");
    let trusted = ("ssl.ca.location", ca.as_str());

    assert_eq!(seen_by(SOON, broker.tls(), &[("security.protocol", "ssl"), trusted]).unwrap(), None);
    assert_eq!(seen_by(SOON, broker.sasl(), &over("sasl_plaintext", &alice)).unwrap(), None);
    let mut encrypted: Vec<(&str, &str)> = over("sasl_ssl", &alice);
    encrypted.push(trusted);
    assert_eq!(seen_by(SOON, broker.sasl_tls(), &encrypted).unwrap(), None);
    let denied = seen_by(SOON, broker.sasl(), &over("sasl_plaintext", &bob)).unwrap();
    assert!(denied.is_some(), "bob may see the topic");
    let wrong = sasl("bob", "guessed", "SCRAM-SHA-512");
    let refused = seen_by(Duration::from_secs(2), broker.sasl(), &over("sasl_plaintext", &wrong));
    assert!(matches!(
        refused,
        Err(KafkaError::MetadataFetch(
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Authentication
        ))
    ));
}

#[test]
fn etcd_keeps_its_data_and_compacts() {
    let mut etcd = Etcd::start().unwrap();
    let first = etcd.revision().unwrap();
    etcd.require_users("shop", "/keyweir/shop/").unwrap();
    assert!(etcd.compact().is_err(), "an anonymous caller was served");
    etcd.restart().unwrap();
    etcd.kill9().unwrap();
    etcd.up().unwrap();

    let open = Etcd::start_with(&["--max-request-bytes=1048576"]).unwrap();
    assert!(open.compact().unwrap() >= first);
    assert!(wait::answers(open.tls_endpoint().trim_start_matches("https://")));
    assert_ne!(open.endpoint(), etcd.endpoint());
}
