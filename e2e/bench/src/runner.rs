//! One trial: starts a contender, reads what it says, and measures from outside what it, the broker and the
//! rest of the machine used in its window.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use keyweir_e2e::process::{self, Process, ProcessError};
use keyweir_e2e::usage::{Usage, machine_busy};
use keyweir_e2e::wait::{self, TimedOut};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::child::{Said, Task};
use crate::peers::{Contender, PeerError};
use crate::results::Measured;

/// How long a contender may take to its first record, and beyond its window to its last word.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The contender could not be built.
    #[error("failed to build it")]
    Build(#[source] PeerError),
    /// It could not be started, or ended by itself.
    #[error("failed to run it")]
    Run(#[source] ProcessError),
    /// It did not say what it should.
    #[error("failed to hear from it; its last lines:\n{log}")]
    Silent {
        /// What was waited for.
        #[source]
        source: TimedOut,
        /// What it said instead.
        log: String,
    },
    /// What it said can't be read.
    #[error("failed to read what it said: {line}")]
    Garbled {
        /// The line.
        line: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The machine could not be measured.
    #[error("failed to measure the machine")]
    Machine(#[source] io::Error),
}

/// Runs a contender on a task beside a broker.
///
/// # Errors
/// When it can't be built, started or measured, or does not report.
pub fn run(
    contender: &Contender,
    task: &Task,
    broker: Option<u32>,
    log: &Path,
) -> Result<Measured, TrialError> {
    let mut command = contender.command(task).map_err(TrialError::Build)?;
    command.process_group(0);
    let child = Process::start(&contender.title(), command, log).map_err(TrialError::Run)?;
    let mut group = Group { child };
    let before_start = spoken(log).len();
    let hear = |group: &mut Group, what: &str, patience: Duration, line: usize| {
        let mut alive = Ok(());
        let heard = wait::some(what, patience, || {
            alive = group.child.must_run();
            let lines = spoken(log);
            if alive.is_err() || lines.len() > line { Some(lines.get(line).cloned()) } else { None }
        });
        let heard = heard.map_err(|source| TrialError::Silent { source, log: process::tail(log, 20) })?;
        heard.ok_or(()).or_else(|()| alive.map(|()| String::new()).map_err(TrialError::Run))
    };
    hear(&mut group, "a first record", PATIENCE, before_start)?;
    let start = Sample::take(&group, broker).map_err(TrialError::Machine)?;
    let line = hear(&mut group, "the end of the window", task.window + PATIENCE, before_start + 1)?;
    let end = Sample::take(&group, broker).map_err(TrialError::Machine)?;
    let said: Said = serde_json::from_str(&line).map_err(|source| TrialError::Garbled { line, source })?;
    Ok(measured(&said, task.window, &start, &end))
}

/// The lines of JSON in a contender's output; what a library prints besides is none.
fn spoken(log: &Path) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect()
}

fn measured(said: &Said, planned: Duration, start: &Sample, end: &Sample) -> Measured {
    let seconds = |one: Duration, other: Duration| one.saturating_sub(other).as_secs_f64();
    let own = seconds(end.contender.cpu, start.contender.cpu);
    let broker = seconds(end.broker.cpu, start.broker.cpu);
    let window = said.seconds.max(f64::EPSILON);
    // A topic that was read to its end before half of the time has no second half.
    let (after_half, in_it) = match said.seconds - planned.as_secs_f64() / 2.0 {
        after_half if after_half > 0.0 => (after_half, said.second_half),
        _ => (window, said.records),
    };
    Measured {
        rate: said.records as f64 / window,
        second_half_rate: in_it as f64 / after_half,
        records: said.records,
        seconds: said.seconds,
        violations: said.violations,
        most_at_once: said.most_at_once,
        handler_ms: said.handler_ms,
        latency_ms: said.latency_ms,
        control_ms: None,
        cores: own / window,
        cpu_microseconds_per_record: own * 1e6 / said.records.max(1) as f64,
        peak_megabytes: end.contender.peak_memory as f64 / 1e6,
        broker_cores: broker / window,
        other_cores: (seconds(end.machine, start.machine) - own - broker).max(0.0) / window,
    }
}

struct Sample {
    contender: Usage,
    broker: Usage,
    machine: Duration,
}

impl Sample {
    fn take(group: &Group, broker: Option<u32>) -> io::Result<Sample> {
        let broker = broker.map(Usage::of_process).transpose()?.unwrap_or_default();
        Ok(Sample { contender: Usage::of_group(group.child.id()), broker, machine: machine_busy()? })
    }
}

/// A contender with all that it started; dropping it kills them.
struct Group {
    child: Process,
}

impl Drop for Group {
    fn drop(&mut self) {
        // It may have ended by itself, with all of its children: then there is nobody to kill.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
    }
}
