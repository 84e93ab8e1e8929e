//! A cgroup of its own for a program of a test, with a real quota of processor time, where making one is allowed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long a period is, in microseconds.
const PERIOD: u32 = 100_000;

/// A cgroup with a quota, and another one in it that has none of its own. Both go at the end, with what they limit.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup that may use so many hundredths of a processor; `None`, and said, where that is not allowed.
    #[must_use]
    pub fn limited(percent: u32) -> Option<Cgroup> {
        let name = format!("keyweir-test-{}-{percent}", std::process::id());
        let (v1, v2) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let made = if v1.join("cpu.cfs_quota_us").is_file() {
            Cgroup::make(v1.join(name), "cpu.cfs_quota_us", &format!("{}", percent * PERIOD / 100))
        } else {
            // Children have the files of a controller only where their parent hands it on.
            fs::write(v2.join("cgroup.subtree_control"), "+cpu").and_then(|()| {
                Cgroup::make(v2.join(name), "cpu.max", &format!("{} {PERIOD}", percent * PERIOD / 100))
            })
        };
        match made {
            Ok(cgroup) => Some(cgroup),
            Err(refused) => {
                eprintln!("not tried: making a cgroup with a quota is not allowed here: {refused}");
                None
            }
        }
    }

    fn make(dir: PathBuf, file: &str, quota: &str) -> io::Result<Cgroup> {
        let cgroup = Cgroup { dir };
        fs::create_dir_all(cgroup.inner())?;
        fs::write(cgroup.dir.join(file), quota)?;
        Ok(cgroup)
    }

    /// A cgroup below the one with the quota, as a container's lies below its pod's.
    fn inner(&self) -> PathBuf {
        self.dir.join("inner")
    }

    /// The same command, run in there from its first instruction on.
    #[must_use]
    pub fn command(&self, command: &Command) -> Command {
        let mut entering = Command::new("sh");
        entering.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        entering.arg(self.inner().join("cgroup.procs")).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            entering.current_dir(directory);
        }
        entering
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A program that was just awaited may still be leaving it.
        let _ = crate::wait::until("an empty cgroup", std::time::Duration::from_secs(5), || {
            let _ = fs::remove_dir(self.inner());
            fs::remove_dir(&self.dir).is_ok()
        });
    }
}
