//! How many commits were acknowledged, in a small file beside the store, so that a store that lost some is found out.
//!
//! A store takes a damaged tail of its journal for a write that was cut short, and drops it. Each commit therefore
//! counts itself in a row, and the count is written here once it is durable. The file is not synced: after a power cut
//! it may be behind, never ahead. So a store that counts less than this file has lost what was acknowledged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The count of acknowledged commits.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    file: File,
}

/// The store has fewer commits than were acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store has {stored} of {acknowledged} acknowledged commits; to go on with what is left, remove the file {}",
    .path.display()
)]
pub(crate) struct CommitsLost {
    stored: u64,
    acknowledged: u64,
    path: PathBuf,
}

impl Acknowledged {
    /// Opens the file, made if it is missing, and compares it with what the store has. A file that can't be
    /// understood says nothing.
    pub(crate) fn open(path: PathBuf, stored: u64) -> io::Result<Result<Self, CommitsLost>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut text = [0; 16];
        let acknowledged = match file.read_exact_at(&mut text, 0) {
            Ok(()) => decode(text),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        match acknowledged {
            Some(acknowledged) if acknowledged > stored => {
                Ok(Err(CommitsLost { stored, acknowledged, path }))
            }
            _ => Ok(Ok(Self { file })),
        }
    }

    /// Notes that so many commits are durable.
    pub(crate) fn set(&self, commits: u64) -> io::Result<()> {
        self.file.write_all_at(&encode(commits), 0)
    }

    /// Where the file lies, for a store in this directory.
    pub(crate) fn beside(store: &Path) -> PathBuf {
        store.with_file_name("acknowledged")
    }
}

/// The number and its complement, so that chance is not taken for a count.
fn encode(commits: u64) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&commits.to_le_bytes());
    text[8..].copy_from_slice(&(!commits).to_le_bytes());
    text
}

fn decode(text: [u8; 16]) -> Option<u64> {
    let number = u128::from_le_bytes(text);
    let (commits, complement) = (number as u64, (number >> 64) as u64);
    (commits == !complement).then_some(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_with_fewer_commits_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acknowledged");
        let open = |stored| Acknowledged::open(path.clone(), stored).unwrap();
        open(0).unwrap().set(7).unwrap();
        assert!(open(7).is_ok());
        assert!(open(8).is_ok());
        let lost = open(6).unwrap_err();
        assert_eq!((lost.stored, lost.acknowledged), (6, 7));
        std::fs::write(&path, [9; 16]).unwrap();
        assert!(open(0).is_ok(), "what can't be understood says nothing");
    }
}
