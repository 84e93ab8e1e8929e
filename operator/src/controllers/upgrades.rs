//! After an upgrade of the operator: whose workers are replaced now, and who waits.
//!
//! So many at a time, and an object keeps its place until it is ready: a version that does not work stops there. One that
//! was not ready before takes no place, for it says nothing about the version.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::registry::Name;

/// Whose workers are being replaced.
pub struct Upgrades {
    limit: usize,
    /// Held for one look-up at a time, never across an await.
    rolling: Mutex<HashSet<Name>>,
}

impl Upgrades {
    /// So many at a time.
    pub fn new(limit: u16) -> Self {
        Self { limit: usize::from(limit), rolling: Mutex::default() }
    }

    /// Whether the workers of the object may be replaced now. One that was ready keeps the place until [`Self::leave`].
    pub fn enter(&self, name: &Name, ready: bool) -> bool {
        let mut rolling = self.lock();
        let may = rolling.contains(name) || rolling.len() < self.limit;
        if may && ready {
            rolling.insert(name.clone());
        }
        may
    }

    /// The workers of the object are being replaced, whatever the limit: an earlier operator began with it.
    pub fn is_under_way(&self, name: &Name) {
        self.lock().insert(name.clone());
    }

    /// The object is ready, or gone.
    pub fn leave(&self, name: &Name) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.rolling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_does_not_become_ready_keeps_its_place() {
        let upgrades = Upgrades::new(2);
        let name = |name: &str| Name { namespace: "shop".to_owned(), name: name.to_owned() };
        assert_eq!(
            ["a", "b", "c", "a"].map(|object| upgrades.enter(&name(object), true)),
            [true, true, false, true]
        );
        upgrades.leave(&name("b"));
        assert_eq!(["c", "b"].map(|object| upgrades.enter(&name(object), true)), [true, false]);
        upgrades.is_under_way(&name("d"));
        upgrades.leave(&name("a"));
        assert!(!upgrades.enter(&name("b"), true), "two are under way all the same");
        upgrades.leave(&name("d"));
        assert!(upgrades.enter(&name("broken"), false) && upgrades.enter(&name("b"), true));
    }
}
