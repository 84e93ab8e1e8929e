//! An etcd, somebody who writes to it, and a reader of some of its slots.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};
use keyweir_contract::endpoints::EtcdEndpoint;
use keyweir_core::{Offset, RangeSet, ShardIndex};
use keyweir_e2e::etcd::Etcd;
use keyweir_engine::Record;
use keyweir_engine::ports::{Intake, Reader, Source, StartAt};
use keyweir_etcd::Connection;
use keyweir_etcd::source::{PrefixReader, PrefixSource, Settings};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing must come where nothing is expected.
const QUIET: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(5);
const BYTES: usize = 8 << 20;

pub(crate) const SLOTS: u32 = 3;

pub(crate) fn settings() -> Settings {
    Settings { slots: SLOTS, every: false, page_size: 500, watch_buffer: 1000, deadline: DEADLINE }
}

fn connection(endpoint: &str) -> Connection {
    let endpoint = EtcdEndpoint { endpoints: vec![endpoint.to_owned()], tls: None, login: None };
    Connection::new(endpoint, DEADLINE)
}

/// Somebody who writes.
pub(crate) struct Writer(pub(crate) Client);

impl Writer {
    pub(crate) async fn to(etcd: &Etcd) -> Self {
        Self(Client::connect([etcd.endpoint()], None).await.unwrap())
    }

    /// Gives the revision.
    pub(crate) async fn put(&self, key: &str, value: &str) -> u64 {
        let answer = self.0.kv_client().put(key, value, None).await.unwrap();
        answer.header().unwrap().revision().cast_unsigned()
    }

    pub(crate) async fn delete(&self, key: &[u8]) {
        self.0.kv_client().delete(key, None).await.unwrap();
    }

    /// All of these in one transaction.
    pub(crate) async fn put_all(&self, keys: impl IntoIterator<Item = String>) {
        let puts: Vec<_> = keys.into_iter().map(|key| TxnOp::put(key, "v", None)).collect();
        self.0.kv_client().txn(Txn::new().and_then(puts)).await.unwrap();
    }
}

/// A record, as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) shard: ShardIndex,
    pub(crate) offset: Offset,
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Told {
    fn of(record: &Record) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = record.headers().map(|(name, value)| (name.to_owned(), text(value.unwrap())));
        Self {
            shard: record.shard,
            offset: record.offset,
            key: text(record.key().unwrap()),
            value: record.value().map(text),
            headers: headers.collect(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&format!("etcd-{name}")).map(String::as_str)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.header("revision").unwrap().parse().unwrap()
    }

    pub(crate) fn kind(&self) -> &str {
        self.header("kind").unwrap()
    }
}

/// A reader and all that it has said.
pub(crate) struct Reading {
    pub(crate) reader: PrefixReader,
    source: PrefixSource,
    pub(crate) records: Vec<Told>,
    pub(crate) positions: BTreeMap<ShardIndex, Offset>,
    pub(crate) resyncs: Vec<(ShardIndex, bool)>,
    pub(crate) troubles: Vec<&'static str>,
    pub(crate) recoveries: usize,
}

impl Reading {
    pub(crate) fn of(endpoint: &str, paths: &[&str], settings: Settings) -> Self {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Self {
            source: PrefixSource::new(connection(endpoint), paths, settings.slots),
            reader: PrefixReader::new(connection(endpoint), settings, BYTES),
            records: Vec::new(),
            positions: BTreeMap::new(),
            resyncs: Vec::new(),
            troubles: Vec::new(),
            recoveries: 0,
        }
    }

    /// Opens every slot where it starts, in the order of its handles.
    pub(crate) async fn open_all(&mut self, at: StartAt) {
        for (place, shard) in (0..).zip(self.source.shards().await.unwrap()) {
            let from = self.source.resolve(&shard, at).await.unwrap();
            self.reader.open(ShardIndex(place), &shard, from);
        }
    }

    /// Opens every slot where another reader's checkpoint says.
    pub(crate) async fn go_on(&mut self, checkpoints: &[(Offset, Vec<u8>)]) {
        let shards = self.source.shards().await.unwrap();
        for ((place, shard), (from, notes)) in (0..).zip(shards).zip(checkpoints) {
            self.reader.remind(ShardIndex(place), notes);
            self.reader.open(ShardIndex(place), &shard, *from);
        }
    }

    /// What a checkpoint would say, were all records below these offsets complete.
    pub(crate) fn checkpoints(&mut self, frontiers: impl Fn(ShardIndex) -> Offset) -> Vec<(Offset, Vec<u8>)> {
        let slots = (0..SLOTS).map(ShardIndex);
        slots
            .map(|shard| (frontiers(shard), self.reader.notes(shard, frontiers(shard), &RangeSet::new())))
            .collect()
    }

    /// The frontier of a slot all of whose records are complete.
    pub(crate) fn end(&self, shard: ShardIndex) -> Offset {
        let of_shard = self.records.iter().filter(|record| record.shard == shard);
        let last = of_shard.map(|record| record.offset.next()).max();
        last.max(self.positions.get(&shard).copied()).unwrap_or_default()
    }

    /// Takes the next news.
    pub(crate) async fn next(&mut self) {
        let intake = timeout(PATIENCE, self.reader.next()).await.expect("there is news in time");
        self.note(intake);
    }

    fn note(&mut self, intake: Intake) {
        match intake {
            Intake::Batch(batch) => {
                for record in &batch.records {
                    let told = Told::of(record);
                    assert!(self.end(told.shard) <= told.offset, "offsets ascend: {told:?}");
                    self.records.push(told);
                }
                self.positions.extend(batch.positions);
            }
            Intake::Resynced { shard, lost } => self.resyncs.push((shard, lost)),
            Intake::Trouble(_, error) => self.troubles.push(error.reason()),
            Intake::Recovered(_) => self.recoveries += 1,
        }
    }

    /// Reads until that holds.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let read = async {
            while !holds(self) {
                let intake = self.reader.next().await;
                self.note(intake);
            }
        };
        let read = timeout(PATIENCE, read).await;
        assert!(read.is_ok(), "{what}: {} records, troubles {:?}", self.records.len(), self.troubles);
    }

    /// Reads until all slots have said where they are.
    pub(crate) async fn listed(&mut self) {
        self.until("every slot is listed", |reading| reading.positions.len() == SLOTS as usize).await;
    }

    /// Reads what comes while nothing is expected.
    pub(crate) async fn quiet(&mut self) {
        while let Ok(intake) = timeout(QUIET, self.reader.next()).await {
            self.note(intake);
        }
    }

    /// The keys of all records of a kind, as often as they came, in the order of the keys.
    pub(crate) fn keys(&self, kind: &str) -> Vec<String> {
        let mut keys: Vec<_> =
            self.records.iter().filter(|told| told.kind() == kind).map(|told| told.key.clone()).collect();
        keys.sort();
        keys
    }
}
