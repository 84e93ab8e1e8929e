//! The log of what was sent: what `keyweir verify --expect` holds against the event logs.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keyweir_core::slots::key_hash;
use keyweir_worker::event_log::key_name;
use serde::{Deserialize, Serialize};

use super::target::Place;

/// A record that must be done in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Its topic.
    pub(crate) topic: String,
    /// Its partition.
    pub(crate) partition: u32,
    /// Its place there.
    pub(crate) offset: i64,
    /// Hash of its own key, in hexadecimal; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// Why something could not be noted.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {path}")]
pub(super) struct ExpectedError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// The log of what was sent, appended to.
pub(super) struct Expected {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Expected {
    pub(super) fn open(path: &Path) -> Result<Self, ExpectedError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| ExpectedError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Notes a batch that is durable, at once.
    pub(super) fn note(
        &mut self,
        topic: &str,
        keys: &[Option<Bytes>],
        places: &[Place],
    ) -> Result<(), ExpectedError> {
        let written = self.lines(topic, keys, places);
        written.map_err(|source| ExpectedError { path: self.path.clone(), source })
    }

    fn lines(&mut self, topic: &str, keys: &[Option<Bytes>], places: &[Place]) -> std::io::Result<()> {
        for (key, place) in keys.iter().zip(places) {
            let key = key.as_ref().map(|key| key_name(key_hash(key)));
            let sent =
                Sent { topic: topic.to_owned(), partition: place.partition, offset: place.offset, key };
            serde_json::to_writer(&mut self.file, &sent)?;
            self.file.write_all(b"\n")?;
        }
        self.file.flush()
    }
}
