//! One child process of a test: its output in a file, signals by its own id, and no way to outlive us.
//!
//! Parts are spawned by one thread that lives as long as the process. The kernel sends the parent-death
//! signal when the *thread* that spawned a child ends, and test threads end early.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Why a process could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("failed to start {name}")]
    Start {
        /// Which part.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be signalled or waited for.
    #[error("failed to stop {name}")]
    Stop {
        /// Which part.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended, where it should not have.
    #[error("failed to keep {name} running: {status}; its last lines:\n{log}")]
    Ended {
        /// Which part.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    ///
    /// # Errors
    /// When the log can't be opened or the command can't be run.
    pub fn start(name: &str, command: Command, log: &Path) -> Result<Process, ProcessError> {
        Process::launch(name, command, log, None)
    }

    /// The same with its standard output elsewhere: on a terminal, say.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_on(out: Stdio, name: &str, command: Command, log: &Path) -> Result<Process, ProcessError> {
        Process::launch(name, command, log, Some(out))
    }

    fn launch(
        name: &str,
        mut command: Command,
        log: &Path,
        out: Option<Stdio>,
    ) -> Result<Process, ProcessError> {
        let failed = |source| ProcessError::Start { name: name.to_owned(), source };
        let output = File::options().create(true).append(true).open(log).map_err(failed)?;
        command.stdin(Stdio::null()).stderr(output.try_clone().map_err(failed)?);
        command.stdout(out.unwrap_or_else(|| output.into()));
        let child = spawn_from_lasting_thread(command).map_err(failed)?;
        Ok(Process { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a signal; an ended process is left alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        if self.ended().is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal)
            .map_err(|errno| ProcessError::Stop { name: self.name.clone(), source: errno.into() })
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error with the end of the log when it is no longer running.
    ///
    /// # Errors
    /// When it ended.
    pub fn must_run(&mut self) -> Result<(), ProcessError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => {
                Err(ProcessError::Ended { name: self.name.clone(), status, log: self.log_tail(40) })
            }
        }
    }

    /// Asks it to end (SIGTERM) and waits; kills it when `within` has passed.
    ///
    /// # Errors
    /// When it can't be signalled or waited for.
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT)?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        let failed = |source| ProcessError::Stop { name: self.name.clone(), source };
        if let Some(status) = self.child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)
    }

    /// The last `lines` lines of its output.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the last lines of {} ---\n{}", self.name, self.log_tail(30));
        }
        if let Err(error) = self.kill() {
            eprintln!("{error}");
        }
    }
}

/// Runs a short command to its end and returns its standard output.
///
/// # Errors
/// When it can't be run or fails; the error carries what it said.
pub fn run(name: &str, mut command: Command) -> Result<String, ProcessError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ProcessError::Start { name: name.to_owned(), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let log = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Err(ProcessError::Ended { name: name.to_owned(), status: output.status, log })
}

/// The last `lines` lines of a file, or nothing when it can't be read.
#[must_use]
pub fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// True when the process ended by SIGKILL.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGKILL as i32)
}

struct Order {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

fn spawn_from_lasting_thread(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    // SAFETY: prctl with these arguments is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, taken) = channel::<Order>();
        std::thread::spawn(move || {
            for mut order in taken {
                // The asker waits for the answer; if it is gone, the child is dropped and reaped at exit.
                let _ = order.answer.send(order.command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, answered) = channel();
    let order = Order { command, answer };
    let gone = || io::Error::other("the spawning thread is gone");
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send(order).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(log: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("60");
        Process::start("sleeper", command, log).unwrap()
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it_and_is_stopped_by_id() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = std::thread::scope(|scope| scope.spawn(|| sleeper(&log)).join().unwrap());
        std::thread::sleep(Duration::from_millis(50));
        process.must_run().unwrap();
        let status = process.stop(Duration::from_secs(5)).unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn a_frozen_process_can_still_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sleeper(&dir.path().join("log"));
        process.signal(Signal::SIGSTOP).unwrap();
        process.stop(Duration::from_secs(5)).unwrap();
        assert!(process.ended().is_some());
    }

    #[test]
    fn an_ended_process_shows_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut process = Process::start("short", command, &dir.path().join("log")).unwrap();
        crate::wait::until("its end", Duration::from_secs(5), || process.ended().is_some()).unwrap();
        let error = process.must_run().unwrap_err().to_string();
        assert!(error.contains("one\ntwo"), "{error}");
    }
}
