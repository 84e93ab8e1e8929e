//! Full disks and damaged directories: service or a clear error, nothing lost, no panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyweir_core::{Checkpoint, Fence, Offset, ShardId, ShardIndex};
use keyweir_e2e::disk::Disk;
use keyweir_embedded::{AppendError, DataDir, DataDirOptions, OpenError, StoreError};
use keyweir_engine::ports::{CheckpointError, CheckpointStore, Intake, Reader, Source};
use keyweir_engine::{NewRecord, error_chain};

const MB: u64 = 1 << 20;

fn options(reserve: u64) -> DataDirOptions {
    DataDirOptions { reserve, ..DataDirOptions::default() }
}

fn records(count: i64) -> Vec<NewRecord> {
    let value = |n: i64| Some(Bytes::from(format!("{n:>1000}")));
    (0..count).map(|n| NewRecord { value: value(n), partition: Some(0), ..NewRecord::default() }).collect()
}

fn is_disk_full(error: &AppendError) -> bool {
    matches!(error, AppendError::Store { source, .. } if source.is_retryable())
}

async fn read_all(data: &DataDir, count: i64) {
    let source = data.source(vec!["t".to_owned()]);
    let bounds = source.bounds(&[ShardId::new("t", 0)]).await.unwrap()[0];
    assert!(bounds.end.0 >= count, "{bounds:?} lacks some of {count}");
    let mut reader = data.reader(8 << 20).unwrap();
    reader.open(ShardIndex(0), &ShardId::new("t", 0), Offset(0));
    let mut next = 0;
    while next < bounds.end.0 {
        let Intake::Batch(batch) =
            tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap()
        else {
            continue;
        };
        for record in batch.records {
            assert_eq!(record.offset, Offset(next));
            next += 1;
        }
    }
}

#[tokio::test]
async fn appends_are_refused_before_the_disk_is_full_and_go_on_when_there_is_room() {
    let Some(disk) = Disk::mount(400 * MB) else { return };
    let data = DataDir::open(disk.path().join("data"), options(64 * MB)).unwrap();
    let log = data.log();
    log.append("t", records(100)).await.unwrap();
    disk.fill(64 * MB).unwrap();
    let full = log.append("t", records(100)).await.unwrap_err();
    assert!(matches!(&full, AppendError::Store { source: StoreError::DiskFull { .. }, .. }), "{full:?}");
    let shard = ShardId::new("t", 0);
    let checkpoint = Checkpoint::new(Fence::default(), Offset(3));
    let refused = data.checkpoints("o").save(vec![(shard.clone(), checkpoint.clone())]).await;
    assert!(matches!(refused, Err(CheckpointError::Unreachable { .. })), "{refused:?}");
    read_all(&data, 100).await;
    disk.make_room().unwrap();
    log.append("t", records(100)).await.unwrap();
    data.checkpoints("o").save(vec![(shard, checkpoint)]).await.unwrap();
    read_all(&data, 200).await;
}

#[tokio::test]
async fn a_store_that_met_a_full_disk_is_opened_anew_when_there_is_room() {
    let Some(disk) = Disk::mount(200 * MB) else { return };
    let data = DataDir::open(disk.path().join("data"), options(0)).unwrap();
    let log = data.log();
    let mut acknowledged = 0;
    log.append("t", records(1_000)).await.unwrap();
    acknowledged += 1_000;
    disk.fill(8 * MB).unwrap();
    let full = loop {
        match log.append("t", records(500)).await {
            Ok(_) => acknowledged += 500,
            Err(error) => break error,
        }
    };
    assert!(is_disk_full(&full), "{full:?}");
    disk.make_room().unwrap();
    let start = Instant::now();
    while let Err(error) = log.append("t", records(100)).await {
        assert!(is_disk_full(&error), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on when there is room: {error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    read_all(&data, acknowledged + 100).await;
    drop((log, data));
    read_all(&DataDir::open(disk.path().join("data"), options(0)).unwrap(), acknowledged + 100).await;
}

/// Enough that some lie in tables and some in the journal.
const RECORDS: i64 = 20_000;

/// A directory with some of everything in it, closed.
async fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), DataDirOptions::default()).unwrap();
    data.log().append("t", records(RECORDS)).await.unwrap();
    let checkpoint = Checkpoint::new(Fence::default(), Offset(3));
    data.checkpoints("o").save(vec![(ShardId::new("t", 0), checkpoint)]).await.unwrap();
    drop(data);
    dir
}

fn open_error(path: &Path) -> OpenError {
    match DataDir::open(path, DataDirOptions::default()) {
        Err(error) => error,
        Ok(_) => panic!("it opened"),
    }
}

#[tokio::test]
async fn a_directory_without_its_identity_is_refused_with_the_way_out() {
    let dir = written().await;
    let identity = dir.path().join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::remove_file(&identity).unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::NoIdentity { .. }));
    fs::write(&identity, &text[..10]).unwrap();
    let cut = open_error(dir.path());
    assert!(matches!(cut, OpenError::Identity { .. }), "{cut:?}");
    assert!(error_chain(&cut).contains("restore the directory from a copy"), "{}", error_chain(&cut));
    fs::write(&identity, text.replace("\"format\":1", "\"format\":9")).unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::Format { found: 9, .. }));
    fs::write(&identity, text).unwrap();
    read_all(&DataDir::open(dir.path(), DataDirOptions::default()).unwrap(), RECORDS).await;
}

#[tokio::test]
async fn a_directory_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(open_error(&file), OpenError::Io { act: "create", .. }));
}

/// Whatever file is damaged, and however: opening or reading says so, or all that was written is there.
#[tokio::test]
async fn damage_is_told_or_survived() {
    let whole = written().await;
    let mut told = 0;
    for (n, file) in files(&whole.path().join("store")).iter().enumerate() {
        // Journals and tables with records are damaged in all ways, the many small files in one each.
        let large = fs::metadata(file).unwrap().len() > MB;
        for (_, damage) in (0..).zip([empty, cut, garble, flip]).filter(|(way, _)| large || n % 4 == *way) {
            let dir = tempfile::tempdir().unwrap();
            copy(whole.path(), dir.path());
            let target = dir.path().join(file.strip_prefix(whole.path()).unwrap());
            if !damage(&target) {
                continue;
            }
            match DataDir::open(dir.path(), DataDirOptions::default()) {
                Err(error) => {
                    told += 1;
                    let text = error_chain(&error);
                    assert!(
                        text.contains("damaged") && text.contains("restore"),
                        "{}: {text}",
                        target.display()
                    );
                }
                Ok(data) => told += usize::from(!reads_whole(&data, RECORDS, &target).await),
            }
        }
    }
    assert!(told > 8, "damage is found: {told}");
}

fn empty(file: &Path) -> bool {
    fs::metadata(file).unwrap().len() > 0 && fs::write(file, b"").is_ok()
}

fn cut(file: &Path) -> bool {
    let length = fs::metadata(file).unwrap().len();
    length > 1
        && fs::File::options().write(true).open(file).unwrap().set_len(length.min(4_000_000) / 2).is_ok()
}

fn garble(file: &Path) -> bool {
    let length = fs::metadata(file).unwrap().len() as usize;
    length > 0 && fs::write(file, b"garbage ".repeat(length.min(100_000) / 8 + 1)).is_ok()
}

fn flip(file: &Path) -> bool {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len().min(10_000_000) / 2;
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x55;
    }
    fs::write(file, bytes).is_ok()
}

/// `false` = the reader said that something is damaged.
async fn reads_whole(data: &DataDir, count: i64, what: &Path) -> bool {
    let mut reader = data.reader(8 << 20).unwrap();
    reader.open(ShardIndex(0), &ShardId::new("t", 0), Offset(0));
    let mut next = 0;
    while next < count {
        let news = tokio::time::timeout(Duration::from_secs(20), reader.next()).await;
        match news.unwrap_or_else(|_| panic!("{}: silence at {next}", what.display())) {
            Intake::Batch(batch) => {
                for record in batch.records {
                    assert_eq!(record.offset, Offset(next), "{}", what.display());
                    assert_eq!(
                        record.value(),
                        Some(format!("{next:>1000}").as_bytes()),
                        "{}",
                        what.display()
                    );
                    next += 1;
                }
            }
            Intake::Trouble(_, error) => {
                assert!(!error.is_retryable(), "{}: {error:?}", what.display());
                return false;
            }
            Intake::Recovered(_) | Intake::Resynced { .. } => {}
        }
    }
    true
}

fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}
