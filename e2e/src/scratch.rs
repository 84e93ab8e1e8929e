//! A part's own directory under the system's temporary one. It goes when the part goes; what a killed
//! test run left behind goes with the next run. With `KEYWEIR_KEEP=DIR` that of a failed test is moved to that
//! directory instead, for whoever looks for the reason.

use std::fs::{self, File};
use std::io;
use std::path::Path;

const PREFIX: &str = "keyweir-part-";
const LOCK: &str = "in-use";

/// A directory that is ours while we live.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    _in_use: File,
}

impl Scratch {
    /// Makes a directory, and removes those whose owners are dead.
    ///
    /// # Errors
    /// When the temporary directory can't be written.
    pub fn make(name: &str) -> io::Result<Scratch> {
        sweep();
        let dir = tempfile::Builder::new().prefix(&format!("{PREFIX}{name}-")).tempdir()?;
        let in_use = File::create(dir.path().join(LOCK))?;
        in_use.lock()?;
        Ok(Scratch { dir, _in_use: in_use })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(keep) = std::env::var_os("KEYWEIR_KEEP")
            && let Some(name) = self.path().file_name()
        {
            let kept = Path::new(&keep).join(name);
            match fs::create_dir_all(&keep).and_then(|()| fs::rename(self.path(), &kept)) {
                Ok(()) => eprintln!("kept: {}", kept.display()),
                Err(error) => eprintln!("could not keep {}: {error}", self.path().display()),
            }
        }
    }
}

/// A directory whose lock is free has no living owner; one without a lock file is just being made.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let abandoned = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned && let Err(error) = fs::remove_dir_all(entry.path()) {
            eprintln!("could not remove {}: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_directory_goes_and_a_used_one_stays() {
        let used = Scratch::make("used").unwrap();
        let abandoned = std::env::temp_dir().join(format!("{PREFIX}abandoned-{}", std::process::id()));
        fs::create_dir_all(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let _other = Scratch::make("other").unwrap();
        assert!(used.path().exists());
        assert!(!abandoned.exists());
    }
}
