//! What the workers of each object last said of themselves, or its meter where there are none.
//!
//! ```text
//!   reconcile ── expect ──▶ Registry ──▶ rounds (asks at a bounded pace) ──▶ ask (GET /v1/objects of each worker)
//!   reconcile ◀── trigger ── Registry ◀────────── gather (many answers, one picture) ◀──┘
//! ```
//! Nothing here writes to the API server: a picture that looks different brings the object to its reconcile, which
//! reads the picture and writes the status, as it writes everything else.

pub mod ask;
pub mod claims;
pub mod gather;
pub mod notices;
pub mod rounds;

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use keyweir_contract::meter::Provisioning;
use keyweir_crds::{
    StreamConsumer,
    status::{LastErrorStatus, ScalingStatus},
};
use kube::Resource;
use tokio::time::Instant;

use self::{
    gather::{Numbers, Picture},
    notices::Told,
};
use crate::{
    cluster::events::Happening,
    page::board::Row,
    scaling::decide::{Decision, Memory, Plan, Signals},
};

/// A shard that is on its way has an owner again within this time.
const MOVE: Duration = Duration::from_secs(15);
/// Numbers that change all the time are shown this often at most,
const SHOWN: Duration = Duration::from_secs(15);
/// and those of so many objects each second at most.
const SHOWN_PER_SECOND: u32 = 20;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object whose workers can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Which object.
    pub name: Name,
    /// Its uid: another object of that name begins anew.
    pub uid: String,
    /// The name by which DNS knows the addresses of all its workers.
    pub host: String,
    /// Whether its workers share the work, so that none knows all of it.
    pub shared: bool,
    /// Workers that are asked for.
    pub replicas: i32,
    /// Whether a meter speaks for it while it has no workers.
    pub metered: bool,
    /// How their number follows the lag, where the operator decides it.
    pub scaling: Option<Plan>,
}

/// What is known of an object by its workers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// Put together from the last answers; `None`: nobody was asked yet.
    pub picture: Option<Picture>,
    /// The last thing that went wrong.
    pub last_error: Option<LastErrorStatus>,
    /// When this was found.
    pub at: Option<Timestamp>,
    /// What scaling last decided.
    pub scaling: Option<ScalingStatus>,
    /// Whether a shard has had no owner for longer than a move takes.
    pub unowned: bool,
    /// What became of the topics that were to be made.
    pub provisioned: Option<Provisioning>,
}

/// What follows from a picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heard {
    /// Whether there is anything new to be shown.
    pub changed: bool,
    /// What is to be told.
    pub happenings: Vec<Happening>,
}

struct Entry {
    subject: Subject,
    /// Workers that it has or gets.
    workers: i32,
    asked: Option<Instant>,
    /// How often in a row its workers have said the same.
    calm: u32,
    known: Known,
    memory: Memory,
    /// Since when a shard has had no owner.
    unowned: Option<Instant>,
    /// The numbers that were shown last, and when.
    shown: Option<(Instant, Numbers)>,
    /// What was told of its notices.
    told: Told,
    /// Records completed at a moment, and by how many workers.
    completed: Option<(Instant, usize, i64)>,
    /// Records that one worker completes in a second.
    rate: Option<f64>,
}

/// A decision that has just been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// Replicas that are asked for now.
    pub current: i32,
    /// Whether it is another one than before.
    pub new: bool,
}

/// What the workers of each object last said.
#[derive(Default)]
pub struct Registry {
    /// Held for one look-up at a time, never across an await.
    entries: Mutex<HashMap<Name, Entry>>,
}

impl Subject {
    /// The object, as events name it.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(StreamConsumer::api_version(&()).into_owned()),
            kind: Some(StreamConsumer::kind(&()).into_owned()),
            namespace: Some(self.name.namespace.clone()),
            name: Some(self.name.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

impl Registry {
    /// From now on the workers of that object are asked, where there are any; else its meter, where there is one.
    pub fn follow(&self, subject: Subject, workers: i32) {
        if workers > 0 || subject.metered {
            self.expect(subject, workers);
        } else {
            self.forget(&subject.name);
        }
    }

    fn expect(&self, subject: Subject, workers: i32) {
        let mut entries = self.lock();
        match entries.get_mut(&subject.name) {
            Some(entry) if entry.subject.uid == subject.uid => {
                (entry.subject, entry.workers) = (subject, workers);
            }
            _ => {
                let entry = Entry {
                    subject: subject.clone(),
                    workers,
                    asked: None,
                    calm: 0,
                    known: Known::default(),
                    memory: Memory::default(),
                    unowned: None,
                    shown: None,
                    told: Told::default(),
                    completed: None,
                    rate: None,
                };
                entries.insert(subject.name, entry);
            }
        }
    }

    /// Nobody is there to be asked any more.
    pub fn forget(&self, name: &Name) {
        self.lock().remove(name);
    }

    /// What is known of the object of that name and uid.
    pub fn known(&self, name: &Name, uid: &str) -> Known {
        let entries = self.lock();
        let entry = entries.get(name).filter(|entry| entry.subject.uid == uid);
        entry.map(|entry| entry.known.clone()).unwrap_or_default()
    }

    /// The objects whose workers were not asked for as long as `interval` says, given how often in a row they have said the
    /// same; they count as asked now.
    pub fn due(&self, now: Instant, interval: impl Fn(&Subject, u32) -> Duration) -> Vec<Subject> {
        let mut due = Vec::new();
        for entry in self.lock().values_mut().filter(|entry| entry.workers > 0) {
            let interval = interval(&entry.subject, entry.calm);
            if entry.asked.is_none_or(|asked| now.duration_since(asked) >= interval) {
                entry.asked = Some(now);
                due.push(entry.subject.clone());
            }
        }
        due
    }

    /// The object of that name, if it has no workers and a meter speaks for it.
    pub fn asleep(&self, name: &Name) -> Option<Subject> {
        let entries = self.lock();
        entries.get(name).filter(|entry| entry.workers == 0).map(|entry| entry.subject.clone())
    }

    /// The name by which DNS knows the workers of the object; `None`: it has none.
    pub fn host(&self, name: &Name) -> Option<String> {
        let entries = self.lock();
        entries.get(name).filter(|entry| entry.workers > 0).map(|entry| entry.subject.host.clone())
    }

    /// Puts what the workers said last in the place of what was published.
    pub fn freshen(&self, rows: &mut [(Name, Row)]) {
        let entries = self.lock();
        for (name, row) in rows {
            let Some(picture) = entries.get(name).and_then(|entry| entry.known.picture.as_ref()) else {
                continue;
            };
            (row.members, row.shards) = (picture.members, picture.shards);
            (row.lag, row.lag_seconds) = (picture.lag, picture.seconds);
            row.in_flight = picture.in_flight;
            row.parked = picture.parked.or(row.parked);
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes up a picture. Words that change are shown at once, numbers at their pace.
    pub fn heard(&self, subject: &Subject, mut picture: Picture, now: Timestamp) -> Heard {
        let mut entries = self.lock();
        let pace = pace(entries.len());
        let Some(entry) = entries.get_mut(&subject.name).filter(|entry| entry.subject.uid == subject.uid)
        else {
            return Heard::default();
        };
        let at = Instant::now();
        entry.measure(&picture, at);
        let before = entry.known.picture.as_ref();
        let error = picture.error_after(before, entry.known.last_error.as_ref(), now);
        let happenings = entry.told.news(&std::mem::take(&mut picture.notices));
        entry.calm = if before == Some(&picture) { entry.calm.saturating_add(1) } else { 0 };
        let unowned = entry.unowned.filter(|_| picture.lacks_owners());
        entry.unowned = picture.lacks_owners().then(|| unowned.unwrap_or(at));
        let unowned = unowned.is_some_and(|since| at.duration_since(since) >= MOVE);
        let words = error.is_some()
            || entry.known.unowned != unowned
            || before.is_none_or(|before| !before.reads_like(&picture));
        let numbers = picture.numbers();
        let due = entry.shown.is_none_or(|(then, shown)| shown != numbers && at.duration_since(then) >= pace);
        let changed = words || due;
        if changed {
            entry.shown = Some((at, numbers));
        }
        entry.known.last_error = error.or(entry.known.last_error.take());
        entry.known.unowned = unowned;
        entry.known.picture = Some(picture);
        entry.known.at = Some(now);
        Heard { changed, happenings }
    }

    /// Takes up what became of the topics that were to be made; a meter that says nothing of them knows nothing new.
    /// Says whether that is new.
    pub fn provisioned(&self, name: &Name, uid: &str, said: Option<&Provisioning>) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(name).filter(|entry| entry.subject.uid == uid) else {
            return false;
        };
        let new = said.is_some() && entry.known.provisioned.as_ref() != said;
        if new {
            entry.known.provisioned = said.cloned();
        }
        new
    }

    /// Decides how many replicas the object should have; `None` where that is not the operator's to decide, and where
    /// there are none though there should be one at least: somebody wants it so.
    pub fn decide(&self, subject: &Subject, now: Instant) -> Option<Decided> {
        let mut entries = self.lock();
        let entry = entries.get_mut(&subject.name).filter(|entry| entry.subject.uid == subject.uid)?;
        let plan =
            entry.subject.scaling.as_ref().filter(|plan| entry.subject.replicas > 0 || plan.min == 0)?;
        let picture = entry.known.picture.as_ref();
        let signals = Signals {
            current: entry.subject.replicas,
            lag: picture.and_then(|picture| picture.lag),
            shards: picture.and_then(|picture| picture.shards).map(|shards| shards.total),
            rate: entry.rate,
            memory: picture.and_then(|picture| picture.memory),
            started: picture.is_some_and(|picture| picture.started),
        };
        let decision = entry.memory.decide(plan, signals, now);
        let before = entry.known.scaling.take();
        let new = before.as_ref().is_none_or(|before| {
            before.desired_replicas != decision.replicas || before.reason != decision.reason
        });
        entry.known.scaling = Some(ScalingStatus {
            desired_replicas: decision.replicas,
            reason: decision.reason.to_owned(),
            last_scale_time: before.and_then(|before| before.last_scale_time),
        });
        Some(Decided { decision, current: signals.current, new })
    }

    /// The object was asked for that many workers.
    pub fn scaled(&self, subject: &Subject, replicas: i32, now: Timestamp) {
        if let Some(entry) = self.lock().get_mut(&subject.name) {
            entry.subject.replicas = replicas;
            if let Some(scaling) = &mut entry.known.scaling {
                scaling.last_scale_time = Some(Time(now));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often numbers are shown where there are so many objects.
fn pace(objects: usize) -> Duration {
    let objects = u32::try_from(objects).unwrap_or(u32::MAX);
    SHOWN.max(Duration::from_secs(1) * objects / SHOWN_PER_SECOND)
}

impl Entry {
    /// Counts what was completed since the last time, where the same workers counted it.
    fn measure(&mut self, picture: &Picture, now: Instant) {
        let completed = picture.completed.map(|completed| (now, picture.answers, completed));
        let before = std::mem::replace(&mut self.completed, completed);
        self.rate = before.zip(picture.completed).and_then(|((then, workers, before), completed)| {
            let (done, seconds) = (completed - before, now.duration_since(then).as_secs_f64());
            let same = workers == picture.answers && workers > 0 && done >= 0 && seconds > 0.0;
            same.then(|| done as f64 / seconds / workers as f64)
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn subject(uid: &str) -> Subject {
        let name = Name { namespace: "shop".to_owned(), name: "orders".to_owned() };
        let host = "orders-stc.shop.svc".to_owned();
        Subject { name, uid: uid.to_owned(), host, shared: true, replicas: 2, metered: false, scaling: None }
    }

    #[test]
    fn an_object_is_asked_at_once_and_then_at_its_pace() {
        let registry = Registry::default();
        registry.follow(subject("1"), 2);
        let (now, pace) = (Instant::now(), Duration::from_secs(10));
        let due = |now| registry.due(now, |_, _| pace);
        assert_eq!(due(now), [subject("1")]);
        registry.follow(subject("1"), 2);
        assert_eq!(due(now + Duration::from_secs(9)), []);
        assert_eq!(due(now + pace), [subject("1")]);
    }

    #[test]
    fn who_keeps_saying_the_same_is_known_to_be_at_rest() {
        let registry = Registry::default();
        registry.follow(subject("1"), 2);
        let calm = |completed| {
            let picture = Picture { answers: 2, completed: Some(completed), ..Picture::default() };
            registry.heard(&subject("1"), picture, Timestamp::now());
            let seen = std::cell::Cell::new(0);
            registry.due(Instant::now(), |_, calm| {
                seen.set(calm);
                Duration::ZERO
            });
            seen.get()
        };
        assert_eq!([7, 7, 7, 8, 8].map(calm), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn what_was_said_of_an_earlier_object_is_not_said_of_a_later_one() {
        let registry = Registry::default();
        registry.follow(subject("1"), 2);
        let picture = Picture { answers: 2, ..Picture::default() };
        assert!(registry.heard(&subject("1"), picture.clone(), Timestamp::now()).changed);
        assert!(!registry.heard(&subject("1"), picture.clone(), Timestamp::now()).changed);
        registry.follow(subject("2"), 2);
        assert!(!registry.heard(&subject("1"), picture, Timestamp::now()).changed);
        assert_eq!(registry.known(&subject("2").name, "2"), Known::default());
        assert_eq!(registry.known(&subject("2").name, "1"), Known::default());
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_are_shown_at_a_pace_and_words_at_once() {
        let registry = Registry::default();
        registry.follow(subject("1"), 2);
        let hear = |lag, members| {
            let picture =
                Picture { answers: 2, lag: Some(lag), members: Some(members), ..Picture::default() };
            registry.heard(&subject("1"), picture, Timestamp::now()).changed
        };
        assert!(hear(0, 2));
        tokio::time::advance(SHOWN / 2).await;
        assert!(!hear(5, 2), "too soon");
        assert!(hear(6, 3), "a member more is told at once, and with it the numbers");
        tokio::time::advance(SHOWN / 2).await;
        assert!(!hear(7, 3), "too soon after that");
        tokio::time::advance(SHOWN / 2).await;
        assert!(hear(7, 3));
        tokio::time::advance(SHOWN).await;
        assert!(!hear(7, 3), "nothing is new");
        assert_eq!((pace(1), pace(3000)), (SHOWN, Duration::from_secs(150)));
    }
}
