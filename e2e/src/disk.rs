//! A small disk of its own for a test that fills it: a file system in memory, where mounting is allowed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk. It is unmounted at the end.
#[derive(Debug)]
pub struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// Makes a disk of so many bytes; `None`, and said, where mounting is not allowed. Only what is written to it
    /// takes memory.
    #[must_use]
    pub fn mount(bytes: u64) -> Option<Disk> {
        let dir = tempfile::tempdir().ok()?;
        let size = format!("size={bytes}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        match mount {
            Ok(done) if done.status.success() => Some(Disk { dir }),
            refused => {
                eprintln!("not tried: mounting a small disk is not allowed here: {refused:?}");
                None
            }
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes space away until only so many bytes are left; others may take some of them meanwhile.
    ///
    /// # Errors
    /// When less is left already, or the disk can't be written.
    pub fn fill(&self, left: u64) -> io::Result<()> {
        let disk = nix::sys::statvfs::statvfs(self.path())?;
        let free = disk.blocks_available() * disk.fragment_size();
        let taken = free.checked_sub(left).ok_or(io::ErrorKind::StorageFull)?;
        match fs::write(self.ballast(), vec![1; usize::try_from(taken).unwrap_or(usize::MAX)]) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            written => written,
        }
    }

    /// Gives back what [`Disk::fill`] took.
    ///
    /// # Errors
    /// When nothing was taken.
    pub fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was killed may still be letting go of its files.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
