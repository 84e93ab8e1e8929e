//! Prints how fast the log appends (durably, in groups of 500) and is read back. `rates [RECORDS] [DIR]`.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use keyweir_core::{Offset, ShardIndex};
use keyweir_embedded::{DataDir, DataDirOptions};
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{Intake, Producer, Reader, Source};

const GROUP: usize = 500;
/// Made before the clock starts, and written over and over.
const GROUPS: usize = 64;
const VALUE: usize = 96;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().map_or(Ok(2_000_000), |text| text.parse())?;
    let path = args.next().map_or_else(|| std::env::temp_dir().join("keyweir-rates"), PathBuf::from);
    let data = DataDir::open(&path, DataDirOptions::default())?;
    for callers in [1, 8] {
        append(&data, count, callers).await?;
    }
    produce(&data, count / 4).await?;
    data.close();
    let data = DataDir::open(&path, DataDirOptions::default())?;
    for round in ["cold", "warm"] {
        read(&data, 2 * count, round).await?;
    }
    data.close();
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

fn group(first: usize) -> Vec<NewRecord> {
    let record = |i: usize| NewRecord {
        key: Some(Bytes::from(format!("key-{}", i % 1_000))),
        value: Some(Bytes::from(value(i))),
        ..NewRecord::default()
    };
    (first..first + GROUP).map(record).collect()
}

/// Hard to compress, so that the disk is not flattered.
fn value(seed: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(VALUE).collect()
}

async fn append(data: &DataDir, count: usize, callers: usize) -> Result<(), Box<dyn std::error::Error>> {
    let groups: Vec<_> = (0..GROUPS).map(|n| group(n * GROUP)).collect();
    let log = data.log();
    let start = Instant::now();
    let mut under_way = FuturesUnordered::new();
    for group in groups.iter().cycle().take(count / GROUP) {
        if under_way.len() == callers {
            under_way.next().await.transpose()?;
        }
        under_way.push(log.append("rates", group.clone()));
    }
    while let Some(done) = under_way.next().await {
        done?;
    }
    report(&format!("append, {callers} callers of {GROUP}"), count, start);
    Ok(())
}

/// One record a call, as outputs and dead letters are written.
async fn produce(data: &DataDir, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let log = data.log();
    let start = Instant::now();
    let records = futures::stream::iter((0..count / GROUP).flat_map(|n| group(n * GROUP)));
    let mut written = records.map(|record| log.produce("produced", record)).buffer_unordered(1_000);
    while let Some(done) = written.next().await {
        done?;
    }
    report("produce one by one, 1000 under way", count, start);
    Ok(())
}

async fn read(data: &DataDir, count: usize, round: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut reader = data.reader(16 << 20)?;
    let start = Instant::now();
    for (index, shard) in (0..).map(ShardIndex).zip(data.source(vec!["rates".into()]).shards().await?) {
        reader.open(index, &shard, Offset::ZERO);
    }
    let (mut seen, mut bytes) = (0, 0);
    while seen < count {
        if let Intake::Batch(batch) = reader.next().await {
            seen += batch.records.len();
            bytes += batch.records.iter().map(|record| record.value().map_or(0, <[u8]>::len)).sum::<usize>();
        }
    }
    report(&format!("read, {round}, {} MB", bytes / 1_000_000), count, start);
    Ok(())
}

fn report(what: &str, count: usize, start: Instant) {
    let taken = start.elapsed();
    println!("{what}: {count} records in {taken:.2?}: {:.0} k/s", count as f64 / taken.as_secs_f64() / 1e3);
}
