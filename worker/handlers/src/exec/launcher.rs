//! Starts child processes, on a thread of its own that lives as long as they do.
//!
//! Starting a process blocks, so it must not happen where the pump runs. And the kernel sends the parent-death
//! signal when the *thread* that started the child ends: a pool's thread would take its children with it.
//! Up: [`super`].

use std::io;
use std::process::Stdio;
use std::thread;

use keyweir_contract::handler::ExecHandler as Config;
use keyweir_engine::Failure;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::reason;

type Wanted = oneshot::Sender<Result<Child, Failure>>;

/// Children that may wait to be started; who wants one more waits to say so.
const WAITING: usize = 16;

/// A thread that starts children. It ends, and they with it, when this is dropped.
#[derive(Debug)]
pub(super) struct Launcher(mpsc::Sender<Wanted>);

impl Launcher {
    /// A launcher of this program. The children's pipes belong to the runtime that this is called in.
    pub(super) fn new(config: Config, runtime: Handle) -> io::Result<Self> {
        let (sender, mut wanted) = mpsc::channel::<Wanted>(WAITING);
        thread::Builder::new().name("exec-launcher".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            while let Some(answer) = wanted.blocking_recv() {
                // Nobody waits any more: dropping the child kills it.
                let _ = answer.send(start(&config));
            }
        })?;
        Ok(Self(sender))
    }

    /// Starts one more child; the failure says what to do about it.
    pub(super) async fn start(&self) -> Result<Child, Failure> {
        let (sender, started) = oneshot::channel();
        let gone = || Failure::new(reason::CANNOT_START, "the worker is stopping");
        self.0.send(sender).await.map_err(|_| gone())?;
        started.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn start(config: &Config) -> Result<Child, Failure> {
    let mut command = Command::new(&config.command);
    command.args(&config.args).envs(&config.env);
    if let Some(directory) = &config.working_directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let worker = nix::unistd::getpid();
    // SAFETY: between fork and exec only two system calls are made; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // The worker died before the signal was asked for: there would be nobody to end this child.
            if getppid() == worker { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        });
    }
    command.spawn().map_err(|error| cannot_start(config, &error))
}

/// Why a program does not start, and what to do about it.
pub(super) fn cannot_start(config: &Config, error: &io::Error) -> Failure {
    let fix = match error.kind() {
        io::ErrorKind::NotFound => {
            "; give the path of a program, or a name in PATH, and look at its first line (#!) and workingDirectory"
        }
        io::ErrorKind::PermissionDenied => "; make it executable (chmod +x) for the user the worker runs as",
        io::ErrorKind::ExecutableFileBusy => "; it is still being written",
        _ => "",
    };
    Failure::new(reason::CANNOT_START, format!("{} can't be started: {error}{fix}", config.command))
}
