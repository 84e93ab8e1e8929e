//! Free places at children: a record goes to the child that holds the fewest, and among those to the one used last.
//!
//! What this file may not do: start a child or wait for one. Up: [`super`].

use tokio::sync::mpsc;

use super::child::Ask;

/// A way to a child that can take one more record.
pub(super) type Place = mpsc::Sender<Ask>;

/// The free places of all children.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Children that can take a record; who can take the most is the last one.
    free: Vec<Free>,
}

#[derive(Debug)]
struct Free {
    way: Place,
    count: usize,
}

impl Places {
    /// How many records the child that would be chosen can take; `None` = no child can take any.
    pub(super) fn most(&mut self) -> Option<usize> {
        while self.free.last().is_some_and(|best| best.way.is_closed()) {
            self.free.pop();
        }
        self.free.last().map(|best| best.count)
    }

    /// A place at the child that holds the fewest records.
    pub(super) fn take(&mut self) -> Option<Place> {
        self.most()?;
        let best = self.free.pop()?;
        let way = best.way.clone();
        self.add(best.way, best.count - 1);
        Some(way)
    }

    /// So many places at a child that has none here.
    pub(super) fn add(&mut self, way: Place, count: usize) {
        if count > 0 {
            let at = self.free.partition_point(|other| other.count <= count);
            self.free.insert(at, Free { way, count });
        }
    }

    /// A place that is free again, at a child that holds so many records at the most.
    pub(super) fn give_back(&mut self, way: Place, most: usize) {
        // A child that holds one record at a time has no other place here.
        let known =
            if most == 1 { None } else { self.free.iter().rposition(|free| free.way.same_channel(&way)) };
        let count = known.map_or(0, |at| self.free.remove(at).count);
        self.add(way, count + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(records: usize) -> (Place, mpsc::Receiver<Ask>) {
        mpsc::channel(records)
    }

    #[test]
    fn the_child_that_holds_the_fewest_is_chosen() {
        let ((a, _a), (b, _b)) = (child(3), child(3));
        let mut places = Places::default();
        places.add(a.clone(), 3);
        places.add(b.clone(), 3);
        let taken: Vec<_> = (0..6).map(|_| places.take().expect("a place")).collect();
        assert!(places.take().is_none());
        let at_a = |taken: &[Place]| taken.iter().filter(|place| place.same_channel(&a)).count();
        assert_eq!((at_a(&taken[..2]), at_a(&taken[..4]), at_a(&taken)), (1, 2, 3));
        places.give_back(b.clone(), 3);
        places.give_back(a.clone(), 3);
        places.give_back(b.clone(), 3);
        assert_eq!(places.most(), Some(2));
        assert!(places.take().expect("a place").same_channel(&b));
    }

    #[test]
    fn a_child_that_is_gone_is_never_chosen() {
        let ((a, _a), (b, gone)) = (child(2), child(2));
        let mut places = Places::default();
        places.add(a.clone(), 1);
        places.add(b, 2);
        drop(gone);
        assert!(places.take().expect("a place").same_channel(&a));
        assert_eq!(places.most(), None);
    }
}
