//! One run, from the first record to the end: what is looked at each moment, and what is done about it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use keyweir_contract::worker_config::LogLevel;
use keyweir_engine::error_chain;
use keyweir_worker::signals::Signals;
use keyweir_worker::telemetry::LogControl;
use keyweir_worker::{Applied, Host};

use super::feed::Feeding;
use super::idle::{Idle, Stuck};
use super::progress::Display;
use crate::args::RunArgs;
use crate::manifests::{self, Object, Place, secrets};
use crate::say;

/// How often the objects are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often progress is told and files are looked at.
const TELL: Duration = Duration::from_secs(1);

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By a signal.
    Signal,
    /// Nothing was left to do.
    Idle,
    /// Every object has stopped by its policy.
    Stopped,
    /// It was to end when nothing is left to do, and what is left can't be done.
    Stuck,
    /// What was to be fed could not be read or written.
    FeedFailed,
}

/// One run.
pub(super) struct Session<'a> {
    pub(super) args: &'a RunArgs,
    pub(super) place: Place,
    pub(super) objects: Vec<Object>,
    pub(super) log: LogControl,
    pub(super) display: Display,
    /// The manifests, as they were when they were read.
    pub(super) files: Files,
    /// When progress was told last.
    pub(super) counted: Instant,
}

impl Session<'_> {
    /// Follows the work until it ends.
    pub(super) async fn follow(
        &mut self,
        host: &mut Host,
        mut feeding: Feeding,
        signals: &mut Signals,
    ) -> Ended {
        let mut idle = self.args.until_idle.map(|wanted| (Idle::new(wanted), Stuck::new(self.args.patience)));
        let mut told = HashMap::new();
        loop {
            tokio::select! {
                biased;
                // A signal first: nothing else matters then.
                () = signals.next() => return Ended::Signal,
                () = tokio::time::sleep(LOOK) => {}
                // Last: it is always ready while there is much to feed.
                fed = feeding.next() => {
                    if let Err(error) = fed {
                        say::err(format_args!("keyweir: {}", error_chain(&error)));
                        return Ended::FeedFailed;
                    }
                    if self.counted.elapsed() < TELL {
                        continue;
                    }
                }
            }
            let views = host.views().borrow().clone();
            if self.counted.elapsed() >= TELL {
                self.counted = Instant::now();
                self.display.tell(&views);
                tell_troubles(&views, &mut told);
                if self.files.have_changed() && self.change(host, signals).await {
                    return Ended::Signal;
                }
            }
            if host.has_ended() {
                return Ended::Stopped;
            }
            let Some((idle, stuck)) = &mut idle else { continue };
            if idle.has_lasted(&views, feeding.is_over()) {
                self.display.tell(&views);
                return Ended::Idle;
            }
            let kept = stuck.has_lasted(&views);
            if !kept.is_empty() {
                kept.iter().for_each(|what| say::err(format_args!("keyweir: {what}")));
                return Ended::Stuck;
            }
        }
    }

    /// Takes up changed files; what is wrong in them is said and the old objects go on. `true` = a signal came.
    async fn change(&mut self, host: &mut Host, signals: &mut Signals) -> bool {
        let read = manifests::read(&self.args.files);
        let rendered = read.and_then(|manifests| Ok((manifests.render(&self.place)?, manifests.secrets)));
        let (objects, found) = match rendered {
            Ok(rendered) => rendered,
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::warn!(%mistake, "the changed manifests are not used");
                }
                return false;
            }
        };
        let directory = manifests::secrets_of(&self.args.data);
        if let Err(error) = secrets::lay_out(&found, self.args.secrets.as_deref(), &directory) {
            tracing::error!(error = error_chain(&error), "the changed manifests are not used");
            return false;
        }
        self.log.set(level_of(&objects));
        super::make_topics(&objects).await;
        let configs = objects.iter().map(|object| object.config.clone()).collect();
        let (outcomes, signalled) = host.apply_heeding(configs, signals).await;
        for (object, applied) in outcomes {
            match applied {
                Applied::Unchanged => {}
                Applied::Failed(error) => {
                    tracing::error!(object, error = error_chain(&error), "the changed object can't start");
                }
                applied => tracing::info!(object, ?applied, "manifest changed"),
            }
        }
        say_notes(&objects);
        self.objects = objects;
        signalled
    }
}

/// The most talkative level that any object asks for.
pub(super) fn level_of(objects: &[Object]) -> LogLevel {
    let rank = |level: &LogLevel| *level as u8;
    objects.iter().map(|object| object.config.live.log_level).max_by_key(rank).unwrap_or_default()
}

/// Says what the manifests ask for and this machine does not do.
pub(super) fn say_notes(objects: &[Object]) {
    for object in objects {
        for note in &object.notes {
            tracing::info!(object = object.name(), "{note}");
        }
    }
}

/// Says once what keeps an object from working, where its pump has not said it, and when it is over.
fn tell_troubles(views: &[keyweir_worker::ObjectView], told: &mut HashMap<String, Vec<String>>) {
    for view in views {
        let snapshot = view.snapshot();
        let missing = view.missing(&snapshot);
        let before = told.entry(view.name().to_owned()).or_default();
        let is_said = |what: &String| snapshot.troubles.iter().any(|said| what.ends_with(&said.text));
        for what in missing.iter().filter(|what| !before.contains(what) && !is_said(what)) {
            tracing::warn!(object = view.name(), "{what}");
        }
        if missing.is_empty() && !before.is_empty() {
            tracing::info!(object = view.name(), "it works again");
        }
        *before = missing;
    }
}

/// Files and when they were written last.
pub(super) struct Files(Vec<(PathBuf, Option<SystemTime>)>);

impl Files {
    /// As they are now: to be asked for before they are read, so that no change falls in between.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|file| (file.clone(), written(file))).collect())
    }

    fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for (file, before) in &mut self.0 {
            let now = written(file);
            // A file that is gone is being replaced, or will be missed by its owner: the object stays.
            if now.is_some() && now != *before {
                (*before, changed) = (now, true);
            }
        }
        changed
    }
}

fn written(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|known| known.modified()).ok()
}
