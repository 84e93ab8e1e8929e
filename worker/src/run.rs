//! `keyweir-worker`: one configuration file, followed until the signal; or another task of the same program.

use std::io::Write;
use std::process::ExitCode;

use keyweir_contract::WorkerConfig;
use keyweir_engine::error_chain;
use keyweir_engine::notices::Notices;
use keyweir_engine::pump::PumpReport;
use keyweir_handlers::Registry;
use tokio::time::Instant;

use crate::args::{Args, Task};
use crate::config::{self, LOOK_AGAIN};
use crate::cpus;
use crate::host::{Applied, Host, HostOptions, ObjectView};
use crate::missing::{fingerprint, missing};
use crate::retire::{self, Retirement};
use crate::signals::Signals;
use crate::telemetry::{self, LogControl};

/// Runs until SIGTERM. Exit code 0 = drained, 1 = it could not start or work was cut off, 2 = bad configuration.
pub async fn run(args: Args, natives: Registry) -> ExitCode {
    match args.task {
        Some(Task::Meter(args)) => return crate::meter::run(args).await,
        Some(Task::Purge(args)) => return crate::purge::run(args).await,
        None => {}
    }
    let config = match config::read(&args.config) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let log = telemetry::init(config.live.log_level);
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return refuse(&error),
    };
    let process = &config.fixed.process;
    let listen = match process.listen.as_deref().map(str::parse).transpose() {
        Ok(listen) => listen.unwrap_or(args.listen),
        Err(error) => return refuse(&error),
    };
    let options = HostOptions {
        data: process.data_directory.clone(),
        listen: Some(listen),
        natives,
        member: args.member(),
        worker: args.pod.clone(),
        ordinal: args.ordinal(),
        address: args.address,
        share: cpus::Share::Request(args.cpu_request),
    };
    let mut host = match Host::start(options).await {
        Ok(host) => host,
        Err(error) => return fail(&error),
    };
    if let Err(code) = follow(&mut host, config, &args, &log, &mut signals).await {
        return code;
    }
    tracing::info!("draining");
    let hurry = host.hurry();
    let mut ending = std::pin::pin!(host.shut_down());
    let reports = tokio::select! {
        biased;
        // A second signal first: somebody is in a hurry.
        () = signals.next() => {
            tracing::warn!("second signal: what is executing is cancelled");
            hurry.cancel();
            ending.await
        }
        reports = &mut ending => reports,
    };
    code_of(&reports)
}

/// Applies the configuration, and again whenever its live part changes, until a signal or until the object has stopped.
async fn follow(
    host: &mut Host,
    first: WorkerConfig,
    args: &Args,
    log: &LogControl,
    signals: &mut Signals,
) -> Result<(), ExitCode> {
    let Some(first) = begins(host, first, args, signals).await else { return Ok(()) };
    let mut applied = first.clone();
    let mut rest = applied.restart_hash();
    let mut secrets = fingerprint(applied.files());
    let mut retirement = retirement(&applied);
    let (outcomes, mut signalled) = host.apply_heeding(vec![first], signals).await;
    for (name, outcome) in outcomes {
        if let Applied::Failed(error) = outcome {
            tracing::error!(object = name, error = error_chain(&error), "the object can't start");
            return Err(ExitCode::FAILURE);
        }
    }
    while !signalled {
        tokio::select! {
            biased;
            // The signal first: nothing else matters then.
            () = signals.next() => return Ok(()),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        if host.has_ended() {
            return Ok(());
        }
        let fleet = host.views().borrow().first().and_then(ObjectView::fleet);
        if let Some(reason) = retirement.due(Instant::now(), retire::held(), fleet.as_deref()) {
            tracing::info!(?reason, "ending, to be started anew");
            return Ok(());
        }
        if applied.files().iter().all(|file| file.exists()) {
            let held = fingerprint(applied.files());
            if std::mem::replace(&mut secrets, held) != held {
                tracing::info!("a Secret or a ConfigMap has changed");
                host.tell(
                    Notices::SECRET_RELOADED,
                    "what is mounted has changed: connections are made anew with it",
                );
            }
        }
        match config::read(&args.config) {
            Ok(config) => {
                // Who wrote the rest replaces the worker, one at a time: all would restart at once here, and if the change is
                // a bad one nobody would be left.
                let now = config.restart_hash();
                if now != rest {
                    tracing::info!("what has changed takes effect when this worker is replaced");
                    rest = now;
                }
                if config.live != applied.live {
                    log.set(config.live.log_level);
                    applied.live = config.live;
                    let outcomes;
                    (outcomes, signalled) = host.apply_heeding(vec![applied.clone()], signals).await;
                    for (object, outcome) in outcomes {
                        tracing::info!(object, ?outcome, "configuration changed");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "the changed configuration is not used")
            }
        }
    }
    Ok(())
}

/// When the process ends by itself; each one a little sooner or later than the others.
fn retirement(config: &WorkerConfig) -> Retirement {
    let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
    Retirement::new(&config.fixed.process, seed, Instant::now())
}

/// Waits until all files are there that the object needs, and says meanwhile which are not; the configuration then.
/// `None` = a signal came first.
async fn begins(
    host: &Host,
    mut config: WorkerConfig,
    args: &Args,
    signals: &mut Signals,
) -> Option<WorkerConfig> {
    let mut told = false;
    loop {
        let lacks = missing(config.files());
        let complete = lacks.is_empty();
        if let Some(trouble) = lacks.first().filter(|_| !told) {
            tracing::warn!(reason = trouble.reason, text = trouble.text, "waiting for files");
            told = true;
        }
        host.awaits(&config, lacks);
        if complete {
            return Some(config);
        }
        tokio::select! {
            biased;
            // The signal first: nothing has begun that would have to end.
            () = signals.next() => return None,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        // One that can't be read is told once it is followed.
        config = config::read(&args.config).unwrap_or(config);
    }
}

fn code_of(reports: &[(String, Option<PumpReport>)]) -> ExitCode {
    let mut clean = true;
    for (object, report) in reports {
        match report {
            Some(report) if report.unsaved.is_empty() && report.stopped.is_none() => {
                tracing::info!(object, cancelled = report.cancelled, "drained");
            }
            Some(PumpReport { stopped: Some(failure), .. }) => {
                clean = false;
                tracing::error!(object, %failure, "stopped by its policy");
            }
            Some(report) => {
                clean = false;
                tracing::error!(object, unsaved = ?report.unsaved, "ended without its last checkpoint");
            }
            None => {
                clean = false;
                tracing::error!(object, "the pump has panicked");
            }
        }
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    say(error);
    ExitCode::from(2)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    say(error);
    ExitCode::FAILURE
}

fn say(error: &dyn std::error::Error) {
    // Nobody may read it any more, and the disk behind it may be full: there is no other place to say so.
    let _ = writeln!(std::io::stderr(), "keyweir-worker: {}", error_chain(error));
}
