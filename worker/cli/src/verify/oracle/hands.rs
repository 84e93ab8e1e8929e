//! Who executes what, where keys are routed: of each key one record, in one hand. Up: [the oracle](super).
//!
//! A member that was killed leaves what it executed open for ever, and one that was frozen or cut off can't recall it: so
//! two open ones are no fault yet. It is one when the older ends as if nothing had happened.

use std::collections::HashMap;
use std::sync::Arc;

use keyweir_core::Fence;
use keyweir_worker::event_log::{Ending, Line};

use super::super::findings::{Findings, Kind};
use super::Event;

/// What executes of each key of a shard.
#[derive(Default)]
pub(super) struct Hands(HashMap<u64, Vec<Hand>>);

/// One record in one hand.
struct Hand {
    member: Arc<str>,
    fence: Fence,
    offset: i64,
    /// What began while it was open.
    overtaken_by: Option<String>,
}

impl Hands {
    /// A handler began.
    pub(super) fn took(&mut self, event: &Event<'_>) {
        let Some(key) = event.key else { return };
        let Line { member, fence, .. } = event.line;
        let hands = self.0.entry(key).or_default();
        hands.iter_mut().for_each(|hand| hand.overtaken_by = Some(event.place()));
        let hand =
            Hand { member: Arc::clone(member), fence: *fence, offset: event.offset, overtaken_by: None };
        hands.push(hand);
    }

    /// It ended.
    pub(super) fn left(&mut self, event: &Event<'_>, findings: &mut Findings) {
        let Some(hands) = event.key.and_then(|key| self.0.get_mut(&key)) else { return };
        let Line { member, fence, verdict, .. } = event.line;
        let is_it =
            |hand: &Hand| hand.member == *member && hand.fence == *fence && hand.offset == event.offset;
        let Some(place) = hands.iter().position(is_it) else { return };
        if let Some(other) = hands.swap_remove(place).overtaken_by {
            if *verdict == Some(Ending::Cancelled) {
                findings.late += 1;
            } else {
                findings
                    .broken(Kind::DoubleHandling, || format!("{} executed while {other} did", event.place()));
            }
        }
    }
}
