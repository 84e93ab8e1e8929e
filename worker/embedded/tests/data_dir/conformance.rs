//! The log and the cold stores of a data directory keep the promises of the engine's ports.

use std::path::Path;

use keyweir_embedded::{DataDir, DataDirOptions, EmbeddedReader, EmbeddedSource, TopicOptions};
use keyweir_engine::NewRecord;
use keyweir_engine::testing::conformance::{self, LogUnderTest};

fn open(path: &Path) -> DataDir {
    DataDir::open(path, DataDirOptions::default()).unwrap()
}

#[tokio::test]
async fn checkpoints_keep_their_promises() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || open(dir.path()).checkpoints("shop/orders");
    conformance::checkpoint_store("with/slash", open).await;
}

#[tokio::test]
async fn parked_records_keep_their_promises() {
    let dir = tempfile::tempdir().unwrap();
    conformance::parked_store("orders", async || open(dir.path()).parked("shop/orders")).await;
}

#[tokio::test]
async fn objects_do_not_see_each_others_parked_records() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    conformance::parked_store("orders", async || data.parked("a")).await;
    conformance::parked_store("orders", async || data.parked("a/b")).await;
}

#[tokio::test]
async fn the_log_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded(open(dir.path()));
    conformance::log("t", &log).await;
    conformance::a_backlog_comes_back_in_order("t", &log).await;
    conformance::a_late_topic_is_read("t", &log).await;
}

#[tokio::test]
async fn the_log_keeps_its_promises_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    conformance::log_survives_reopening("t", async || Embedded(open(dir.path()))).await;
}

struct Embedded(DataDir);

impl LogUnderTest for Embedded {
    type Reader = EmbeddedReader;
    type Source = EmbeddedSource;
    type Recall = EmbeddedSource;

    async fn create(&self, topic: &str, partitions: u32) {
        let options = TopicOptions { partitions, ..TopicOptions::default() };
        self.0.log().ensure_topic(topic, options).await.unwrap();
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) {
        self.0.log().append(topic, records).await.unwrap();
    }

    fn source(&self, topics: &[&str]) -> EmbeddedSource {
        self.0.source(topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    fn reader(&self) -> EmbeddedReader {
        self.0.reader(1 << 20).unwrap()
    }

    fn recall(&self) -> EmbeddedSource {
        self.0.source(Vec::new())
    }
}
