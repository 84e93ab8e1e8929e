//! What has happened once and people should hear of: a reset that was taken, a Secret that was taken up. Up: the
//! [crate](crate).
//!
//! The last few are kept, for whoever asks: nobody waits for them, and nothing is lost but a notice that nobody asked for.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// So many are kept.
const KEPT: usize = 64;

/// Something that has happened once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Tells it from all others of its object, also from those of earlier processes.
    pub number: u64,
    /// The stable word, as events have it.
    pub reason: &'static str,
    /// A sentence.
    pub text: String,
    /// When.
    pub at: Instant,
}

/// The last notices of one object, oldest first. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<watch::Sender<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    told: u64,
    last: Vec<Notice>,
}

impl Notices {
    /// Somebody's reset of a group's offset was taken.
    pub const OFFSET_RESET: &'static str = "OffsetReset";
    /// Nobody compacts the history of the store where members meet.
    pub const HISTORY_GROWS: &'static str = "HistoryGrows";
    /// A changed Secret or ConfigMap is used from now on.
    pub const SECRET_RELOADED: &'static str = "SecretReloaded";

    /// Tells of something.
    pub fn tell(&self, reason: &'static str, text: String) {
        self.0.send_modify(|kept| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // Higher than any number of a process that was here before.
            kept.told = (kept.told + 1).max(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
            if kept.last.len() == KEPT {
                kept.last.remove(0);
            }
            kept.last.push(Notice { number: kept.told, reason, text, at: Instant::now() });
        });
    }

    /// The last ones, oldest first.
    pub fn last(&self) -> Vec<Notice> {
        self.0.borrow().last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_have_numbers() {
        let notices = Notices::default();
        let clone = notices.clone();
        for number in 1..=KEPT + 2 {
            clone.tell(Notices::OFFSET_RESET, format!("reset {number}"));
        }
        let last = notices.last();
        assert_eq!((last.len(), last[0].text.as_str()), (KEPT, "reset 3"));
        assert!(last.windows(2).all(|two| two[0].number < two[1].number));
    }
}
