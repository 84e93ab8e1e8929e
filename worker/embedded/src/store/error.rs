//! Why the store did not do what it was asked.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

/// Why the store did not do what it was asked. Cheap to clone: one failed commit answers many callers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no space left. Tried again: it goes on when there is.
    #[error(
        "failed to write to {path}: the disk is full; make room (128 MiB are left free), writing goes on by itself"
    )]
    DiskFull {
        /// The data directory.
        path: PathBuf,
    },
    /// The disk or the store failed. Tried again: the store is opened anew.
    #[error("failed to {act} the store")]
    Failed {
        /// `open`, `read` or `write`.
        act: &'static str,
        /// Why.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// What lies there is not what was written. A person must act.
    #[error(
        "failed to read {what}: it is damaged; restore the data directory from a copy or begin with an empty one"
    )]
    Damaged {
        /// What was read.
        what: String,
        /// Why.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The data directory was closed. Never tried again.
    #[error("failed to use the data directory: it is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later without anybody acting.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Failed { .. })
    }

    pub(crate) fn failed(act: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Failed { act, source: Arc::new(source) }
    }

    pub(crate) fn damaged(what: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Damaged { what: what.into(), source: Arc::new(source) }
    }

    /// Tells a full disk and damaged files from other failures.
    pub(crate) fn of(act: &'static str, path: &std::path::Path, source: fjall::Error) -> Self {
        if io_cause(&source).is_some_and(is_disk_full) {
            return Self::DiskFull { path: path.to_owned() };
        }
        if is_damage(&source) {
            return Self::damaged(path.display().to_string(), source);
        }
        Self::failed(act, source)
    }
}

/// Whether an operation failed for want of space.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

fn io_cause(error: &fjall::Error) -> Option<&io::Error> {
    match error {
        fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) => Some(cause),
        _ => None,
    }
}

fn is_damage(error: &fjall::Error) -> bool {
    use fjall::Error as E;
    match error {
        E::Storage(fjall::LsmError::Io(cause)) | E::Io(cause) => {
            let kinds = [
                ErrorKind::UnexpectedEof,
                ErrorKind::NotFound,
                ErrorKind::InvalidData,
                ErrorKind::InvalidInput,
            ];
            kinds.contains(&cause.kind())
        }
        E::Storage(_) | E::JournalRecovery(_) | E::InvalidVersion(_) | E::Decompress(_) => true,
        E::InvalidTrailer | E::InvalidTag(_) | E::Unrecoverable => true,
        _ => false,
    }
}
