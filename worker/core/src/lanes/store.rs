//! Where queued records lie: one growing table of entries, linked per lane, so that a lane costs two numbers and a
//! record costs no allocation of its own.

use super::Route;

const NONE: u32 = u32::MAX;

/// Head and tail of one lane's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    head: u32,
    tail: u32,
}

impl Link {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE };

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

#[derive(Debug)]
struct Entry<T> {
    item: Option<T>,
    next: u32,
    route: Route,
}

/// All queued records.
#[derive(Debug)]
pub(super) struct Entries<T> {
    entries: Vec<Entry<T>>,
    vacant: u32,
    length: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), vacant: NONE, length: 0 }
    }
}

impl<T> Entries<T> {
    #[inline]
    pub(super) fn push(&mut self, link: &mut Link, route: Route, item: T) {
        let place = if self.vacant == NONE {
            self.entries.push(Entry { item: Some(item), next: NONE, route });
            (self.entries.len() - 1) as u32
        } else {
            let place = self.vacant;
            let entry = &mut self.entries[place as usize];
            self.vacant = entry.next;
            *entry = Entry { item: Some(item), next: NONE, route };
            place
        };
        self.length += 1;
        if link.head == NONE {
            link.head = place;
        } else {
            self.entries[link.tail as usize].next = place;
        }
        link.tail = place;
    }

    #[inline]
    pub(super) fn pop(&mut self, link: &mut Link) -> Option<T> {
        if link.head == NONE {
            return None;
        }
        let place = link.head;
        link.head = self.entries[place as usize].next;
        if link.head == NONE {
            link.tail = NONE;
        }
        self.vacate(place)
    }

    #[inline]
    pub(super) fn front(&self, link: &Link) -> Option<&T> {
        self.entries.get(link.head as usize)?.item.as_ref()
    }

    #[inline]
    pub(super) fn front_mut(&mut self, link: &Link) -> Option<&mut T> {
        self.entries.get_mut(link.head as usize)?.item.as_mut()
    }

    /// The last record, where it has that route.
    pub(super) fn back_mut(&mut self, link: &Link, route: Route) -> Option<&mut T> {
        let entry = self.entries.get_mut(link.tail as usize).filter(|entry| entry.route == route)?;
        entry.item.as_mut()
    }

    /// Shows each record but the first `spared` ones, to be changed.
    pub(super) fn each_mut(&mut self, link: &Link, spared: usize, mut show: impl FnMut(&mut T)) {
        let (mut at, mut index) = (link.head, 0);
        while let Some(entry) = self.entries.get_mut(at as usize) {
            if let Some(item) = entry.item.as_mut().filter(|_| index >= spared) {
                show(item);
            }
            at = entry.next;
            index += 1;
        }
    }

    /// Each record, in order.
    pub(super) fn iter(&self, link: &Link) -> impl Iterator<Item = &T> {
        let first = self.entries.get(link.head as usize);
        let entries = std::iter::successors(first, |entry| self.entries.get(entry.next as usize));
        entries.filter_map(|entry| entry.item.as_ref())
    }

    /// Takes out all but the first `kept` records, which are at least one.
    pub(super) fn cut(&mut self, link: &mut Link, kept: usize, mut removed: impl FnMut(T)) {
        let mut last = link.head;
        for _ in 1..kept {
            last = self.entries.get(last as usize).map_or(NONE, |entry| entry.next);
        }
        let Some(entry) = self.entries.get_mut(last as usize) else { return };
        let mut at = std::mem::replace(&mut entry.next, NONE);
        link.tail = last;
        while at != NONE {
            let next = self.entries[at as usize].next;
            self.vacate(at).into_iter().for_each(&mut removed);
            at = next;
        }
    }

    #[inline]
    pub(super) fn front_route(&self, link: &Link) -> Option<Route> {
        self.entries.get(link.head as usize).map(|entry| entry.route)
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Takes out what `unwanted` names, but not the first `spared` ones; says whether the head went.
    pub(super) fn remove_where(
        &mut self,
        link: &mut Link,
        spared: usize,
        unwanted: &mut impl FnMut(&T) -> bool,
        removed: &mut Vec<T>,
    ) -> bool {
        let mut kept = Link::EMPTY;
        let mut at = link.head;
        let mut index = 0;
        let mut head_went = false;
        while at != NONE {
            let next = self.entries[at as usize].next;
            let goes = index >= spared && self.entries[at as usize].item.as_ref().is_some_and(&mut *unwanted);
            if goes {
                head_went |= index == 0;
                removed.extend(self.vacate(at));
            } else {
                self.entries[at as usize].next = NONE;
                if kept.head == NONE {
                    kept.head = at;
                } else {
                    self.entries[kept.tail as usize].next = at;
                }
                kept.tail = at;
            }
            at = next;
            index += 1;
        }
        *link = kept;
        head_went
    }

    #[inline]
    fn vacate(&mut self, place: u32) -> Option<T> {
        let entry = &mut self.entries[place as usize];
        let item = entry.item.take();
        entry.next = self.vacant;
        self.vacant = place;
        self.length -= 1;
        item
    }
}
