//! The lock on a data directory: one process at a time, and proof that an earlier one is dead.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A held lock. The system releases it when the process ends, however it ends; children do not inherit it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// What came of trying to lock.
pub(crate) enum Locking {
    /// It is ours. Whoever held it before is dead.
    Held(Lock),
    /// Another process has it; its id, where it can be read.
    By(Option<u32>),
}

impl Lock {
    /// Tries to take the lock, without waiting, and writes our process id into it.
    pub(crate) fn take(path: &Path) -> io::Result<Locking> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Locking::Held(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok(Locking::By(text.trim().parse().ok()))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
