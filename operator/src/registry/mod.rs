//! What the workers of each object last said of themselves.
//!
//! ```text
//!   reconcile ── expect ──▶ Registry ──▶ rounds (asks at a bounded pace) ──▶ ask (GET /v1/objects of each worker)
//!   reconcile ◀── trigger ── Registry ◀────────── gather (many answers, one picture) ◀──┘
//! ```
//! Nothing here writes to the API server: a picture that looks different brings the object to its reconcile, which
//! reads the picture and writes the status, as it writes everything else.

pub mod ask;
pub mod gather;
pub mod rounds;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use keyweir_crds::status::LastErrorStatus;
use tokio::time::Instant;

use self::gather::Picture;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
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
}

struct Entry {
    subject: Subject,
    asked: Option<Instant>,
    known: Known,
}

/// What the workers of each object last said.
#[derive(Default)]
pub struct Registry {
    /// Held for one look-up at a time, never across an await.
    entries: Mutex<HashMap<Name, Entry>>,
}

impl Registry {
    /// From now on the workers of that object are asked, where there are any.
    pub fn follow(&self, subject: Subject, workers: i32) {
        if workers > 0 {
            self.expect(subject);
        } else {
            self.forget(&subject.name);
        }
    }

    /// From now on the workers of that object are asked.
    pub fn expect(&self, subject: Subject) {
        let mut entries = self.lock();
        match entries.get_mut(&subject.name) {
            Some(entry) if entry.subject == subject => {}
            _ => {
                let entry = Entry { subject: subject.clone(), asked: None, known: Known::default() };
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

    /// The objects whose workers were not asked for `interval`; they count as asked now.
    pub fn due(&self, now: Instant, interval: Duration) -> Vec<Subject> {
        let mut due = Vec::new();
        for entry in self.lock().values_mut() {
            if entry.asked.is_none_or(|asked| now.duration_since(asked) >= interval) {
                entry.asked = Some(now);
                due.push(entry.subject.clone());
            }
        }
        due
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes up a picture. Says whether it looks different from the one before.
    pub fn heard(&self, subject: &Subject, picture: Picture, now: Timestamp) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&subject.name).filter(|entry| entry.subject == *subject) else {
            return false;
        };
        let before = entry.known.picture.as_ref();
        if let Some(error) = picture.error_after(before, now) {
            entry.known.last_error = Some(error);
        }
        let changed = before != Some(&picture);
        entry.known.picture = Some(picture);
        entry.known.at = Some(now);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(uid: &str) -> Subject {
        let name = Name { namespace: "shop".to_owned(), name: "orders".to_owned() };
        Subject { name, uid: uid.to_owned(), host: "orders-stc.shop.svc".to_owned(), shared: true }
    }

    #[test]
    fn an_object_is_asked_at_once_and_then_at_its_pace() {
        let registry = Registry::default();
        registry.expect(subject("1"));
        let (now, pace) = (Instant::now(), Duration::from_secs(10));
        assert_eq!(registry.due(now, pace), [subject("1")]);
        registry.expect(subject("1"));
        assert_eq!(registry.due(now + Duration::from_secs(9), pace), []);
        assert_eq!(registry.due(now + pace, pace), [subject("1")]);
    }

    #[test]
    fn what_was_said_of_an_earlier_object_is_not_said_of_a_later_one() {
        let registry = Registry::default();
        registry.expect(subject("1"));
        let picture = Picture { answers: 2, ..Picture::default() };
        assert!(registry.heard(&subject("1"), picture.clone(), Timestamp::now()));
        assert!(!registry.heard(&subject("1"), picture.clone(), Timestamp::now()));
        registry.expect(subject("2"));
        assert!(!registry.heard(&subject("1"), picture, Timestamp::now()));
        assert_eq!(registry.known(&subject("2").name, "2"), Known::default());
        assert_eq!(registry.known(&subject("2").name, "1"), Known::default());
    }
}
