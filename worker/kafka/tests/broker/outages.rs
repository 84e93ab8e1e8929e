//! What a reader survives: a broker that goes away, a topic that comes late, credentials that are refused.

use std::time::Duration;

use keyweir_contract::endpoints::{
    ClientCertificate, KafkaEndpoint, PasswordLogin, Sasl, SaslMechanism, Tls,
};
use keyweir_core::{ShardId, ShardIndex};
use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::kafka::{Record, unique};
use keyweir_e2e::parts;
use keyweir_engine::ports::{Reader, Source, SourceError};
use keyweir_kafka::{Connection, KafkaSource, Mirroring};

use super::reading::{Reading, endpoint, eventually, source};

fn records(range: std::ops::Range<usize>) -> Vec<Record> {
    range.map(|n| Record::new(&format!("k{}", n % 7), &n.to_string())).collect()
}

#[tokio::test]
async fn a_broker_that_restarts_or_is_killed_costs_neither_records_nor_order() {
    let mut broker = Broker::start().unwrap();
    let topic = broker.unique_topic("outage", 1).unwrap();
    let source = source(broker.bootstrap(), &topic, "outage");
    broker.produce(&topic, &records(0..100)).unwrap();
    let mut reading = Reading::at(broker.bootstrap());
    reading.open(&topic, 0, 0);
    reading.until_records(100).await;
    for (round, kill) in [(1, false), (2, true)] {
        if kill {
            broker.kill9().unwrap();
        } else {
            broker.down().unwrap();
        }
        let said = reading.said.len();
        reading.until("trouble", |read| read.said[said..].contains(&(None, "Timeout".to_owned()))).await;
        let unreachable = source.bounds(&[ShardId::new(topic.as_str(), 0)]).await;
        assert!(matches!(unreachable, Err(SourceError::Unreachable { .. })), "{unreachable:?}");
        broker.up().unwrap();
        reading.until("recovery", |read| read.said[said..].contains(&(None, "recovered".to_owned()))).await;
        broker.produce(&topic, &records(round * 100..(round + 1) * 100)).unwrap();
        reading.until_records((round + 1) * 100).await;
        assert_eq!(
            source.bounds(&[ShardId::new(topic.as_str(), 0)]).await.unwrap()[0].end.0,
            reading.position(0)
        );
    }
    assert!(reading.offsets(0).into_iter().eq(0..300));
}

/// Whoever is in trouble is given no shard: that trouble ends must not depend on having one.
#[tokio::test]
async fn a_reader_without_shards_finds_that_the_broker_is_back() {
    let mut broker = Broker::start().unwrap();
    let topic = broker.unique_topic("idle", 1).unwrap();
    broker.produce(&topic, &records(0..10)).unwrap();
    let mut reading = Reading::at(broker.bootstrap());
    reading.open(&topic, 0, 0);
    reading.until_records(10).await;
    broker.kill9().unwrap();
    reading.until_said(None, "Timeout").await;
    reading.reader.close(ShardIndex(0));
    broker.up().unwrap();
    reading.until_said(None, "recovered").await;
}

#[tokio::test]
async fn a_topic_that_appears_later_is_read_from_then_on() {
    let kafka = parts::kafka().unwrap();
    let topic = unique("late");
    let source = source(kafka.bootstrap(), &topic, "late");
    assert!(matches!(source.shards().await, Err(SourceError::Missing { .. })));
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.until_said(Some(0), "TopicMissing").await;
    kafka.create_topic(&topic, 1, &[]).unwrap();
    kafka.produce(&topic, &records(0..10)).unwrap();
    reading.until_records(10).await;
    reading.until_said(Some(0), "recovered").await;
    assert_eq!(source.shards().await.unwrap(), [ShardId::new(topic.as_str(), 0)]);
}

#[tokio::test]
async fn a_topic_made_anew_is_held_until_it_is_opened_anew() {
    let kafka = parts::kafka().unwrap();
    for seen_missing in [true, false] {
        let topic = unique("anew");
        kafka.create_topic(&topic, 2, &[]).unwrap();
        let on = |partition| move |record: Record| record.on(partition);
        kafka.produce(&topic, &records(0..50).into_iter().map(on(0)).collect::<Vec<_>>()).unwrap();
        let mut reading = Reading::at(kafka.bootstrap());
        reading.open(&topic, 0, 0);
        reading.open(&topic, 1, 0);
        reading.until_records(50).await;
        // The topic's id is asked for soon after it was opened.
        reading.for_a_while(Duration::from_millis(1_500)).await;
        kafka.delete_topic(&topic).unwrap();
        if seen_missing {
            reading.until_said(Some(0), "TopicMissing").await;
        }
        let again = || kafka.create_topic(&topic, 2, &[]).is_ok();
        keyweir_e2e::wait::until("the topic made anew", super::reading::SOON, again).unwrap();
        kafka.produce(&topic, &records(0..20).into_iter().map(on(0)).collect::<Vec<_>>()).unwrap();
        reading.until_said(Some(0), "TopicMadeAnew").await;
        reading.until_said(Some(1), "TopicMadeAnew").await;
        kafka.produce(&topic, &records(20..100).into_iter().map(on(0)).collect::<Vec<_>>()).unwrap();
        reading.for_a_while(Duration::from_secs(1)).await;
        assert_eq!(reading.records.len(), 50, "records of the new topic at an old position");
        reading.open(&topic, 0, 0);
        reading.until_records(150).await;
    }
}

/// Between the look at a checkpoint and the first look of the reader, too.
#[tokio::test]
async fn a_topic_made_anew_before_its_first_look_is_held() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("anew", 1).unwrap();
    let source = source(kafka.bootstrap(), &topic, "anew");
    let known = eventually(|| source.identity(&topic), Result::is_ok).await.unwrap().stream.unwrap();
    kafka.delete_topic(&topic).unwrap();
    let again = || kafka.create_topic(&topic, 1, &[]).is_ok();
    keyweir_e2e::wait::until("the topic made anew", super::reading::SOON, again).unwrap();
    let mut reading = Reading::at(kafka.bootstrap());
    reading.reader.expect(ShardIndex(0), &known);
    reading.open(&topic, 0, 0);
    reading.until_said(Some(0), "TopicMadeAnew").await;
    kafka.produce(&topic, &records(0..20)).unwrap();
    reading.for_a_while(Duration::from_secs(1)).await;
    assert_eq!(reading.records.len(), 0, "records of the new topic at an old position");
    // What expects nothing takes the topic as it is.
    reading.open(&topic, 0, 0);
    reading.until_records(20).await;
}

/// Somebody with a password in a file of its own.
struct Login {
    file: std::path::PathBuf,
    endpoint: KafkaEndpoint,
}

impl Login {
    fn new(address: &str, mechanism: SaslMechanism, user: &str, password: &str) -> Login {
        let file = std::env::temp_dir().join(unique("password"));
        std::fs::write(&file, password).unwrap();
        let login = PasswordLogin { username: user.to_owned(), password_file: file.clone() };
        let endpoint = KafkaEndpoint { sasl: Some(Sasl { mechanism, login }), ..endpoint(address) };
        Login { file, endpoint }
    }

    fn connection(&self) -> Connection {
        Connection::new(self.endpoint.clone(), "test")
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[tokio::test]
async fn refused_credentials_are_reported_and_new_ones_are_taken_from_the_file() {
    let broker = Broker::start().unwrap();
    let topic = broker.unique_topic("login", 1).unwrap();
    broker.produce(&topic, &records(0..10)).unwrap();
    let login = Login::new(&broker.sasl(), SaslMechanism::ScramSha512, "bob", "guessed");
    let source =
        KafkaSource::new(login.connection(), vec![topic.clone()], &unique("group"), Mirroring::Mirror);
    let mut reading = Reading::with(login.connection(), 1 << 20);
    reading.open(&topic, 0, 0);
    reading.until_said(None, "AuthenticationFailed").await;
    assert!(source.shards().await.is_err());
    std::fs::write(&login.file, "bob-secret\n").unwrap();
    reading.until_records(10).await;
    reading.until_said(None, "recovered").await;
    assert_eq!(source.shards().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_without_rights_is_told_so_while_others_read() {
    let broker = Broker::start_with(BrokerOptions::default().denying_bob()).unwrap();
    let topic = broker.unique_topic("rights", 1).unwrap();
    broker.produce(&topic, &records(0..10)).unwrap();
    let bob = Login::new(&broker.sasl(), SaslMechanism::ScramSha256, "bob", "bob-secret");
    let mut refused = Reading::with(bob.connection(), 1 << 20);
    refused.open(&topic, 0, 0);
    refused.until_said(Some(0), "NotAuthorized").await;
    let source = KafkaSource::new(bob.connection(), vec![topic.clone()], "rights", Mirroring::Mirror);
    assert!(matches!(source.shards().await, Err(SourceError::Refused { .. })));

    let alice = Login::new(&broker.sasl(), SaslMechanism::Plain, "alice", "alice-secret");
    let mut reading = Reading::with(alice.connection(), 1 << 20);
    reading.open(&topic, 0, 0);
    reading.until_records(10).await;
    refused.for_a_while(Duration::from_millis(500)).await;
    assert_eq!(refused.said.len(), 1, "said again: {:?}", refused.said);
}

#[tokio::test]
async fn tls_is_spoken_with_and_without_a_login_and_an_unknown_authority_is_refused() {
    let broker = Broker::start().unwrap();
    let topic = broker.unique_topic("tls", 1).unwrap();
    broker.produce(&topic, &records(0..10)).unwrap();
    let certificate = broker.client_certificate();
    let tls = Tls {
        ca: Some(broker.authority().ca()),
        client: Some(ClientCertificate { certificate: certificate.cert, key: certificate.key }),
    };
    let plain = KafkaEndpoint { tls: Some(tls.clone()), ..endpoint(&broker.tls()) };
    let alice = Login::new(&broker.sasl_tls(), SaslMechanism::Plain, "alice", "alice-secret");
    let both = KafkaEndpoint { tls: Some(tls), ..alice.endpoint.clone() };
    for endpoint in [plain, both] {
        let mut reading = Reading::with(Connection::new(endpoint, "test"), 1 << 20);
        reading.open(&topic, 0, 0);
        reading.until_records(10).await;
    }
    let stranger = KafkaEndpoint { tls: Some(Tls::default()), ..endpoint(&broker.tls()) };
    let mut refused = Reading::with(Connection::new(stranger, "test"), 1 << 20);
    refused.open(&topic, 0, 0);
    refused.until_said(None, "AuthenticationFailed").await;
}
