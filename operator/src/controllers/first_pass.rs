//! Whether every object has been looked at since this operator began. Before that nobody knows who is to be measured,
//! who was first on a group, or how many roll-outs are under way.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::registry::Name;

/// The first look at every object.
pub struct FirstPass {
    /// Objects that were looked at; `None`: all were. Held for one look-up at a time.
    passed: Mutex<Option<HashSet<Name>>>,
}

impl Default for FirstPass {
    fn default() -> Self {
        Self { passed: Mutex::new(Some(HashSet::new())) }
    }
}

impl FirstPass {
    /// That object has been looked at; there are so many.
    pub fn passed(&self, name: Name, objects: usize) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = passed.as_mut() {
            seen.insert(name);
            if seen.len() >= objects {
                *passed = None;
            }
        }
    }

    /// Whether all objects have been looked at.
    pub fn is_over(&self) -> bool {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_each_object_was_looked_at_once() {
        let pass = FirstPass::default();
        let name = |name: &str| Name { namespace: "shop".to_owned(), name: name.to_owned() };
        for object in ["a", "a", "b"] {
            assert!(!pass.is_over());
            pass.passed(name(object), 2);
        }
        assert!(pass.is_over());
        pass.passed(name("c"), 3);
        assert!(pass.is_over());
    }
}
