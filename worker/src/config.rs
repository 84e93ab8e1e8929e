//! The configuration file of a pod: read, checked, and followed while it changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyweir_contract::WorkerConfig;

/// How often the file is looked at: a ConfigMap mount changes by a swapped link, without a notice.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("failed to read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration of this version.
    #[error("failed to understand {path}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: keyweir_contract::read::ReadError,
    },
}

/// Reads a configuration.
pub fn read(path: &Path) -> Result<WorkerConfig, ReadError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ReadError::File { path: path.to_owned(), source })?;
    keyweir_contract::read::read(&text).map_err(|source| ReadError::Content { path: path.to_owned(), source })
}
