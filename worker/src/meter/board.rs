//! What was last measured of every object, with a version that changes when somebody should look.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use keyweir_contract::meter::{Measured, Provisioning, Reading, Readings};

/// The last reading of each object, by `namespace/name`.
#[derive(Debug)]
pub(super) struct Board {
    version: u64,
    readings: BTreeMap<String, Reading>,
}

impl Board {
    /// An empty board. Its version is none that an earlier meter had.
    pub(super) fn begin() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { version: u64::try_from(since.as_millis()).unwrap_or(1), readings: BTreeMap::new() }
    }

    /// Another one whenever an object falls behind or catches up, or trouble comes or goes.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Takes up a reading. Says whether somebody should look.
    pub(super) fn put(&mut self, name: &str, reading: Option<Reading>) -> bool {
        let Some(reading) = reading else { return false };
        let new = self.readings.get(name).is_none_or(|old| mark(old) != mark(&reading));
        self.readings.insert(name.to_owned(), reading);
        self.version += u64::from(new);
        new
    }

    /// Forgets the others. Says whether somebody should look.
    pub(super) fn keep(&mut self, kept: impl Fn(&str) -> bool) -> bool {
        let before = self.readings.len();
        self.readings.retain(|name, _| kept(name));
        let new = self.readings.len() != before;
        self.version += u64::from(new);
        new
    }

    /// The reading of one object.
    pub(super) fn of(&self, name: &str) -> Option<&Reading> {
        self.readings.get(name)
    }

    /// All readings.
    pub(super) fn all(&self) -> impl Iterator<Item = &Reading> {
        self.readings.values()
    }

    /// All of it, as it is told.
    pub(super) fn told(&self) -> Readings {
        Readings { version: self.version, objects: self.all().cloned().collect() }
    }
}

/// What about a reading is worth a look: not the number itself, which changes with every record.
fn mark(reading: &Reading) -> (&str, bool, bool, Option<&str>, Option<&Provisioning>) {
    let (behind, started, trouble) = match &reading.measured {
        Measured::Backlog(backlog) => (backlog.records > 0, backlog.started, None),
        Measured::Trouble(trouble) => (false, false, Some(trouble.reason.as_str())),
    };
    (&reading.uid, behind, started, trouble, reading.provisioned.as_ref())
}

#[cfg(test)]
mod tests {
    use keyweir_contract::meter::Backlog;

    use super::*;

    fn reading(records: u64) -> Option<Reading> {
        let measured = Measured::Backlog(Backlog { records, shards: 1, started: true });
        let name = "shop/orders".to_owned();
        Some(Reading { name, uid: "1".to_owned(), measured, provisioned: None })
    }

    #[test]
    fn an_object_that_falls_behind_is_worth_a_look_and_one_that_stays_behind_is_not() {
        let mut board = Board::begin();
        let looks = [0, 0, 1, 500, 0].map(|records| board.put("shop/orders", reading(records)));
        assert_eq!(looks, [true, false, true, false, true]);
        assert_eq!(board.told().objects, reading(0).into_iter().collect::<Vec<_>>());
        assert!(board.keep(|_| false) && !board.keep(|_| false));
    }
}
