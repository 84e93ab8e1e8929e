//! The data directory: opened once, checked at opening, the way to everything that lives in it.
//!
//! ```text
//! DIR/lock      process id of the holder      DIR/identity       format and cluster id (JSON)
//! DIR/store/    the embedded store            DIR/acknowledged   how many commits it must have
//! ```
//!
//! Up: [crate].

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyweir_engine::ports::ParkedError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ingest::Log;
use crate::lock::{Lock, Locking};
use crate::log::TopicOptions;
use crate::store::error::{StoreError, is_disk_full};
use crate::writer::{self, Followed, Writer};
use crate::{Checkpoints, EmbeddedReader, EmbeddedSource, Parked};

/// The format that is written. Another one is refused.
const FORMAT: u32 = 1;

/// How a data directory is opened.
#[derive(Clone, Copy, Debug)]
pub struct DataDirOptions {
    /// What topics get that are made by writing to them.
    pub topic_defaults: TopicOptions,
    /// How many bytes of the disk are left free: appends are refused before the disk is full, because the store's
    /// background work needs room.
    pub reserve: u64,
}

impl Default for DataDirOptions {
    fn default() -> Self {
        Self { topic_defaults: TopicOptions::default(), reserve: 128 << 20 }
    }
}

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("failed to open {path}: {} has it open; stop that process or choose another directory", holder(.pid))]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, where it can be told.
        pid: Option<u32>,
    },
    /// It can't be created, read or written.
    #[error("failed to {act} {path}; use a directory on a disk that can be written to")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no space left.
    #[error("failed to open {path}: the disk is full; make room and start again")]
    DiskFull {
        /// The directory.
        path: PathBuf,
    },
    /// It was written by a program of another format.
    #[error(
        "failed to open {path}: its format is {found}, this program knows {FORMAT}; use the program that wrote it"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It holds a store but nothing that says whose: a part of it was lost.
    #[error(
        "failed to open {path}: it holds a store but no file `identity`; restore the directory from a copy, or move \
         it away to begin with an empty one"
    )]
    NoIdentity {
        /// The directory.
        path: PathBuf,
    },
    /// The file that says whose it is can't be understood.
    #[error(
        "failed to open {path}: its file `identity` is damaged; restore the directory from a copy, or move it away \
         to begin with an empty one"
    )]
    Identity {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The store in it can't be opened.
    #[error("failed to open the store in {path}")]
    Store {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Format and cluster of a data directory: written once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    format: u32,
    cluster_id: Uuid,
}

/// An open data directory: the log and the cold stores in it. Clones share it; it is closed when the last one is gone,
/// with all that writes through it.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: Arc<Path>,
    cluster_id: Arc<str>,
    writer: Writer,
    followed: Followed,
}

impl DataDir {
    /// Opens a data directory, made if it is missing. Blocks; what a crash left unfinished is put right first.
    pub fn open(path: impl AsRef<Path>, options: DataDirOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let io = |act| move |source: io::Error| open_error(act, path, source);
        fs::create_dir_all(path).map_err(io("create"))?;
        let lock = match Lock::take(&path.join("lock")).map_err(io("lock"))? {
            Locking::Held(lock) => lock,
            Locking::By(pid) => return Err(OpenError::Held { path: path.to_owned(), pid }),
        };
        let identity = identify(path)?;
        let start = writer::Start {
            path: path.join("store"),
            reserve: options.reserve,
            topic_defaults: options.topic_defaults,
            lock,
        };
        let (writer, followed) = writer::start(start)?;
        Ok(Self { path: path.into(), cluster_id: identity.cluster_id.to_string().into(), writer, followed })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells this directory's offsets from all others'.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The log: topics, and appending to them. It is the [`Producer`](keyweir_engine::ports::Producer) too.
    pub fn log(&self) -> Log {
        Log::new(self.writer.clone(), self.followed.clone())
    }

    /// The cold half of a source over these topics.
    pub fn source(&self, topics: Vec<String>) -> EmbeddedSource {
        EmbeddedSource::new(topics, self.cluster_id.clone(), self.followed.clone())
    }

    /// The hot half of a source. At most about `read_ahead` bytes are read before they are asked for.
    pub fn reader(&self, read_ahead: usize) -> io::Result<EmbeddedReader> {
        EmbeddedReader::start(self.followed.clone(), read_ahead)
    }

    /// The checkpoints of one object.
    pub fn checkpoints(&self, object: &str) -> Checkpoints {
        Checkpoints::new(object, self.writer.clone(), self.followed.clone())
    }

    /// The parked records of one object.
    pub fn parked(&self, object: &str) -> Parked {
        Parked::new(object, self.writer.clone(), self.followed.clone())
    }

    /// The objects of which records are parked here.
    pub fn parked_objects(&self) -> Result<Vec<String>, ParkedError> {
        crate::parked::objects(&self.followed)
    }

    /// Waits until all that was asked is written and the directory is free for another process; dropping it does the
    /// same. While clones of it, its log or its stores are held, the last of them does that.
    pub fn close(self) {}
}

/// Reads the file that says whose the directory is, or writes it into a new one.
fn identify(path: &Path) -> Result<Identity, OpenError> {
    let file = path.join("identity");
    match fs::read(&file) {
        Ok(text) => {
            let identity: Identity = serde_json::from_slice(&text)
                .map_err(|source| OpenError::Identity { path: path.to_owned(), source })?;
            if identity.format != FORMAT {
                return Err(OpenError::Format { path: path.to_owned(), found: identity.format });
            }
            Ok(identity)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if path.join("store").exists() {
                return Err(OpenError::NoIdentity { path: path.to_owned() });
            }
            let identity = Identity { format: FORMAT, cluster_id: Uuid::new_v4() };
            let text = serde_json::to_vec(&identity)
                .map_err(|source| OpenError::Identity { path: path.to_owned(), source })?;
            write_durably(path, &file, &text).map_err(|source| open_error("write", &file, source))?;
            Ok(identity)
        }
        Err(source) => Err(open_error("read", &file, source)),
    }
}

/// A file is there whole or not at all, whenever the power fails.
fn write_durably(directory: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(directory)?.sync_all()
}

fn open_error(act: &'static str, path: &Path, source: io::Error) -> OpenError {
    if is_disk_full(&source) {
        return OpenError::DiskFull { path: path.to_owned() };
    }
    OpenError::Io { act, path: path.to_owned(), source }
}
