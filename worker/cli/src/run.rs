//! `keyweir run`: manifests on this machine, until a signal or until nothing is left to do.
//!
//! ```text
//! files ──▶ manifests ──▶ Host::apply ─┐          ┌─▶ progress.rs
//!   ▲ looked at each second            ├─ session ┼─▶ idle.rs   ends it
//! --feed ──▶ feed.rs ──▶ embedded log ─┘          └─▶ summary.rs at the end
//! ```

mod feed;
mod idle;
mod progress;
mod session;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use keyweir_engine::error_chain;
use keyweir_worker::signals::Signals;
use keyweir_worker::{Applied, Host, HostOptions, Registry, cpus, telemetry};

pub(crate) use feed::Feed;

use crate::args::RunArgs;
use crate::manifests::{self, Object, Place, secrets};
use crate::{exit, say};
use feed::Feeding;
use progress::Display;
use session::{Ended, Files, Session};
use summary::Summary;

/// Runs manifests; see the exit codes in the command's help.
pub(crate) async fn run(args: RunArgs) -> ExitCode {
    if args.files.iter().any(|file| file == Path::new(manifests::STDIN)) {
        return exit::wrong(&["-f -: a run looks at its manifests again and again: give it a file"]);
    }
    let place = Place::here(&args);
    let files = Files::new(&args.files);
    let manifests = match manifests::read(&args.files) {
        Ok(manifests) => manifests,
        Err(mistakes) => return exit::wrong(&mistakes),
    };
    let objects = match manifests.render(&place) {
        Ok(objects) => objects,
        Err(mistakes) => return exit::wrong(&mistakes),
    };
    manifests.passed_over.iter().for_each(say::err);
    let unread: Vec<_> = args.feed.iter().filter_map(|feed| feed.unread(&objects)).collect();
    if !unread.is_empty() {
        return exit::wrong(&unread);
    }
    let display = Display::new(args.progress);
    let beside = display.beside();
    let log = telemetry::init_to(session::level_of(&objects), move || beside.clone());
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return exit::failed(&error),
    };
    let mut host = match Host::start(options(&args)).await {
        Ok(host) => host,
        Err(error) => return exit::failed(&error),
    };
    let laid_out =
        secrets::lay_out(&manifests.secrets, args.secrets.as_deref(), &manifests::secrets_of(&args.data));
    if let Err(error) = laid_out {
        return exit::failed(&error);
    }
    display.listening(host.address(), &args.data);
    session::say_notes(&objects);
    make_topics(&objects).await;
    let began = Instant::now();
    if !start(&mut host, &objects).await {
        host.shut_down().await;
        return ExitCode::FAILURE;
    }
    let feeding = match Feeding::start(&args, host.directory()).await {
        Ok(feeding) => feeding,
        Err(error) => {
            host.shut_down().await;
            return exit::failed(&error);
        }
    };
    let mut session = Session { args: &args, place, objects, log, display, files, counted: began };
    let ended = session.follow(&mut host, feeding, &mut signals).await;
    let (reports, forced) = drain(host, &mut signals).await;
    let summary = Summary::new(&reports, began.elapsed(), &session.objects);
    session.display.end(&summary, &args);
    code(&args, &summary, ended, forced)
}

fn options(args: &RunArgs) -> HostOptions {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HostOptions {
        data: Some(args.data.clone()),
        listen: Some(args.listen),
        natives: Registry::default(),
        member: format!("pid-{}.{}", std::process::id(), since.as_millis()),
        // The data directory is locked: its id is this worker's.
        worker: None,
        ordinal: args.ordinal,
        address: None,
        // Nobody else was promised anything of this machine.
        share: cpus::Share::Machine,
    }
}

/// Makes the topics that objects want to be made and that are missing; what is in the way is said.
async fn make_topics(objects: &[Object]) {
    for object in objects {
        let Some(said) = keyweir_worker::provision(&object.config).await else { continue };
        if !said.text.is_empty() {
            say::err(format_args!("keyweir: {}: {}: {}", object.config.object.name, said.reason, said.text));
        }
    }
}

/// Starts the objects; says of each that can't start why.
async fn start(host: &mut Host, objects: &[Object]) -> bool {
    let mut all = true;
    for (name, applied) in host.apply(objects.iter().map(|object| object.config.clone()).collect()).await {
        if let Applied::Failed(error) = applied {
            say::err(format_args!("keyweir: {name} can't start: {}", error_chain(&error)));
            all = false;
        }
    }
    all
}

/// Ends everything: the first signal has come or the work is done, a further one forces. Says whether it did.
async fn drain(host: Host, signals: &mut Signals) -> (summary::Reports, bool) {
    let hurry = host.hurry();
    let mut ending = std::pin::pin!(host.shut_down());
    let reports = tokio::select! {
        biased;
        // A signal first: somebody is in a hurry.
        () = signals.next() => {
            tracing::warn!("a further signal: what is executing is cancelled");
            hurry.cancel();
            ending.await
        }
        reports = &mut ending => reports,
    };
    (reports, hurry.is_cancelled())
}

fn code(args: &RunArgs, summary: &Summary, ended: Ended, forced: bool) -> ExitCode {
    let cut_off = forced && summary.cut_off() > 0;
    if matches!(ended, Ended::FeedFailed | Ended::Stuck) || cut_off || !summary.is_clean() {
        return ExitCode::FAILURE;
    }
    if args.until_idle.is_some() && ended == Ended::Idle && summary.set_aside() > 0 {
        return ExitCode::from(exit::SET_ASIDE);
    }
    ExitCode::SUCCESS
}
