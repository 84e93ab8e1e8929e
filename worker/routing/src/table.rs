//! The table: which slot goes to which member, by the roll. Up: the [crate](crate).

use std::collections::HashMap;
use std::sync::Arc;

use keyweir_core::placement::Candidate;
use keyweir_core::{MemberId, Slot, SlotMap};
use tokio::sync::mpsc;

use crate::courier::{Dropped, Parcel};
use keyweir_engine::ownership::Roll;
use keyweir_engine::ownership::values::MemberValue;

/// Where a courier is given its records.
#[derive(Clone)]
pub(crate) struct Counter {
    pub(crate) parcels: mpsc::Sender<Parcel>,
    pub(crate) dropped: Arc<Dropped>,
}

/// Who executes what.
#[derive(Default)]
pub(crate) struct Table {
    map: Option<SlotMap>,
    counters: HashMap<MemberId, Counter>,
}

impl Table {
    /// The table of this map; who has no counter is the member itself.
    pub(crate) fn new(map: SlotMap, counters: HashMap<MemberId, Counter>) -> Self {
        Self { map: Some(map), counters }
    }

    /// Where the records of a slot are taken to; `None` = they execute here.
    pub(crate) fn counter(&self, slot: Slot) -> Option<&Counter> {
        self.counters.get(self.map.as_ref()?.member(slot)?)
    }

    /// On how many members records execute.
    pub(crate) fn spread(&self) -> usize {
        self.map.as_ref().map_or(1, |map| map.members().len().max(1))
    }
}

/// The members that execute records of this one, itself included.
pub(crate) fn map(roll: &Roll) -> SlotMap {
    let mine = roll.members.get(&roll.me).and_then(|me| me.wire.as_ref());
    let takes = |(id, member): &(&MemberId, &MemberValue)| {
        let speaks = || mine.zip(member.wire.as_ref()).is_some_and(|(mine, theirs)| mine.fits(theirs));
        **id == roll.me || member.address.is_some() && speaks()
    };
    let candidate = |(id, member): (&MemberId, &MemberValue)| Candidate {
        id: id.clone(),
        capacity: member.capacity,
        zone: None,
        leaving: member.leaving,
        healthy: member.healthy,
        rules: member.rules,
    };
    let candidates: Vec<_> = roll.members.iter().filter(takes).map(candidate).collect();
    SlotMap::place(&candidates)
}
