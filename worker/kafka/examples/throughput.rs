//! How fast the reader is beside a bare consumer loop, on the same topic, in one run.
//!
//! `cargo run --release -p keyweir-kafka --example throughput -- HOST:PORT TOPIC [RECORDS [PARTITIONS]]`
//!
//! The topic is made and filled (96-byte values, 1,000 keys) when it is missing. Each reader takes all of it; rate
//! and CPU time of the whole process are printed, so run it more than once: a broker on the same cores is noisy.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use keyweir_contract::endpoints::KafkaEndpoint;
use keyweir_core::{ShardId, ShardIndex};
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{Bounds, Intake, Producer, Reader, Source, SourceError};
use keyweir_kafka::{Connection, KafkaProducer, KafkaReader, KafkaSource, Mirroring};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset as KafkaOffset, TopicPartitionList};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let servers = args.next().ok_or("want HOST:PORT TOPIC [RECORDS [PARTITIONS]]")?;
    let topic = args.next().ok_or("want a topic")?;
    let records: u64 = args.next().map_or(Ok(5_000_000), |text| text.parse())?;
    let partitions: i32 = args.next().map_or(Ok(8), |text| text.parse())?;
    let budget: usize = std::env::var("READ_AHEAD").map_or(Ok(64 << 20), |text| text.parse())?;
    let endpoint = KafkaEndpoint {
        bootstrap_servers: vec![servers.clone()],
        tls: None,
        sasl: None,
        properties: std::collections::BTreeMap::new(),
    };
    let connection = Connection::new(endpoint, "throughput");
    let source = KafkaSource::new(
        connection.clone(),
        vec![topic.clone()],
        "throughput",
        Mirroring::CheckpointsAreThere,
    );
    if matches!(source.shards().await, Err(SourceError::Missing { .. })) {
        fill(&servers, &connection, &topic, partitions, records).await?;
    }
    let shards = source.shards().await?;
    let bounds = source.bounds(&shards).await?;
    time_to_open(&connection, &shards, &bounds).await?;
    for _ in 0..3 {
        let total: i64 = bounds.iter().map(|bounds| bounds.end.0 - bounds.first.0).sum();
        let mut before = Usage::now();
        bare(&servers, &topic, shards.len(), total)?;
        before.say("bare loop", total);
        let mut before = Usage::now();
        let mut reader = KafkaReader::new(connection.clone(), budget)?;
        for (index, (shard, bounds)) in (0..).zip(shards.iter().zip(&bounds)) {
            reader.open(ShardIndex(index), shard, bounds.first);
        }
        let (mut seen, mut batches, mut bytes) = (0, 0u64, 0);
        while seen < total {
            match reader.next().await {
                Intake::Batch(batch) => {
                    batches += 1;
                    seen += batch.records.len() as i64;
                    bytes += batch.records.iter().map(|record| record.weight()).sum::<usize>();
                }
                other => println!("{other:?}"),
            }
        }
        before.say("reader", total);
        println!(
            "    {} records a batch, {} bytes a record",
            total / batches.max(1) as i64,
            bytes / total as usize
        );
    }
    Ok(())
}

/// How long the first record of a shard takes that is opened while all others have been read to their end.
async fn time_to_open(connection: &Connection, shards: &[ShardId], bounds: &[Bounds]) -> Result<(), Failure> {
    let mut reader = KafkaReader::new(connection.clone(), 1 << 20)?;
    let (Some(((first, rest), ends)), mut times) = (shards.split_first().zip(bounds.get(1..)), Vec::new())
    else {
        return Ok(());
    };
    reader.open(ShardIndex(0), first, bounds[0].end);
    for (shard, bounds) in rest.iter().zip(ends).cycle().take(50) {
        // As long as it takes until the others' question lies with the broker.
        tokio::time::sleep(Duration::from_millis(137)).await;
        let begun = Instant::now();
        reader.open(ShardIndex(1), shard, bounds.first);
        while !matches!(reader.next().await, Intake::Batch(batch) if !batch.records.is_empty()) {}
        times.push(begun.elapsed());
        reader.close(ShardIndex(1));
    }
    times.sort();
    println!(
        "first record of a shard that is opened: median {:?}, longest {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    Ok(())
}

async fn fill(
    servers: &str,
    connection: &Connection,
    topic: &str,
    partitions: i32,
    records: u64,
) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    admin.create_topics(&[new], &AdminOptions::new()).await?;
    let producer = KafkaProducer::new(connection.clone(), Duration::from_secs(60))?;
    let mut waiting = FuturesUnordered::new();
    let value = bytes::Bytes::from(vec![b'v'; 96]);
    let mut random = 7u64;
    for _ in 0..records {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = format!("key-{}", (random >> 33) % 1_000);
        let record = NewRecord { key: Some(key.into()), value: Some(value.clone()), ..NewRecord::default() };
        waiting.push(producer.produce(topic, record));
        if waiting.len() >= 20_000 {
            waiting.next().await.transpose()?;
        }
    }
    while waiting.next().await.transpose()?.is_some() {}
    Ok(())
}

fn bare(servers: &str, topic: &str, partitions: usize, total: i64) -> Result<(), Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "throughput-bare")
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "1000000")
        .set("fetch.queue.backoff.ms", "5")
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        list.add_partition_offset(topic, partition, KafkaOffset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (mut seen, mut bytes) = (0, 0);
    while seen < total {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            bytes += message?.payload().map_or(0, <[u8]>::len);
            seen += 1;
        }
    }
    if bytes == 0 { Err("nothing was read".into()) } else { Ok(()) }
}

/// Wall and CPU time since some moment.
struct Usage {
    wall: Instant,
    cpu: Duration,
}

impl Usage {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    fn say(&mut self, what: &str, records: i64) {
        let (wall, cpu) = (self.wall.elapsed(), cpu_time() - self.cpu);
        let records = records as f64;
        println!(
            "{what:10} {:>9.0} records/s, {:.2} us of CPU a record",
            records / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / records
        );
    }
}

/// CPU time of this process, all threads, from `/proc`.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
