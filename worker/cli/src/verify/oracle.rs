//! The oracle: a byte for each record, a lane for each key, fed with lines in the order of time.

mod hands;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use keyweir_core::Fence;
use keyweir_worker::event_log::{Ending, Line, Step};

use self::hands::Hands;
use super::findings::{Findings, Kind};
use super::states::States;
use crate::send::Sent;

const POLLED: u8 = 1;
const DONE: u8 = 2;
/// It was dead-lettered, parked, skipped or superseded.
const ASIDE: u8 = 4;
/// It was set aside and is handled again, out of its order.
const RELEASED: u8 = 8;
/// Its state belongs to the newest fence.
const CURRENT: u8 = 16;
/// It was done under the newest fence.
const DONE_NOW: u8 = 32;
/// The log had dropped it before it could be handled.
const GONE: u8 = 64;
/// Nothing of it is left to do.
const OVER: u8 = DONE | ASIDE | GONE;

/// What is known of one shard.
#[derive(Default)]
struct Shard {
    states: States,
    owners: HashMap<Fence, Arc<str>>,
    newest: Option<(Fence, u64)>,
    lanes: HashMap<u64, Lane>,
    /// What the current states belong to.
    fence: Fence,
    /// The furthest that was read under this fence.
    furthest: Option<i64>,
    /// What executes, on which member.
    hands: Hands,
}

/// What is known of one key of a shard.
#[derive(Default)]
struct Lane {
    fence: Fence,
    /// Polled under this fence and not ended, by offset.
    pending: VecDeque<i64>,
    /// The furthest that was started under this fence.
    furthest: Option<i64>,
    /// What executes under this fence.
    open: Option<i64>,
    /// What executed under an older fence when this one began; its process may be dead.
    older: Option<(Fence, i64)>,
    /// Whether something was started under this fence while that one had not ended.
    overlapped: bool,
}

impl Lane {
    fn enter(&mut self, fence: Fence) {
        if fence > self.fence {
            let older = self.open.map(|offset| (self.fence, offset)).or(self.older);
            *self = Self { fence, older, ..Self::default() };
        }
    }
}

impl Shard {
    fn state(&mut self, offset: i64) -> &mut u8 {
        self.states.of(offset)
    }

    /// A newer fence begins: what was polled and done under the older one is history.
    fn enter(&mut self, fence: Fence) {
        if fence > self.fence {
            self.fence = fence;
            self.furthest = None;
            self.states.each_mut(|state| *state &= !(CURRENT | DONE_NOW | RELEASED));
        }
    }
}

/// Judges events.
#[derive(Default)]
pub(super) struct Oracle {
    shards: HashMap<(Arc<str>, u32), Shard>,
    keys: HashSet<u64>,
    findings: Findings,
}

/// A line about one record.
struct Event<'a> {
    line: &'a Line,
    offset: i64,
    key: Option<u64>,
}

impl Event<'_> {
    fn place(&self) -> String {
        let Line { topic, partition, member, fence, .. } = self.line;
        format!(
            "{topic}/{partition}@{} of key {} by {member} under {fence}",
            self.offset,
            self.line.key.as_deref().unwrap_or("-")
        )
    }
}

impl Oracle {
    /// Takes the next line.
    pub(super) fn take(&mut self, line: &Line) {
        let shard = self.shards.entry((Arc::clone(&line.topic), line.partition)).or_default();
        let findings = &mut self.findings;
        match (line.step, line.offset) {
            (Step::Owned, _) => owned(shard, line, findings),
            (Step::Released, _) | (_, None) => {}
            (step, Some(offset)) => {
                let key = line.key.as_deref().and_then(|key| u64::from_str_radix(key, 16).ok());
                match step {
                    Step::Running => return shard.hands.took(&Event { line, offset, key }),
                    Step::Ran => return shard.hands.left(&Event { line, offset, key }, findings),
                    _ => {}
                }
                self.keys.extend(key);
                let event = Event { line, offset, key };
                shard.enter(line.fence);
                match step {
                    Step::Polled => polled(shard, &event, findings),
                    Step::Started => started(shard, &event, findings),
                    Step::Ended => ended(shard, &event, findings),
                    Step::SetAside => over(shard, &event, ASIDE),
                    Step::Gone => over(shard, &event, GONE),
                    _ => drop(shard.state(offset)),
                }
                if line.fence == shard.fence {
                    shard.furthest = shard.furthest.max(Some(offset));
                }
            }
        }
    }

    /// Counts what is known at the end. `judge` = what was read, is not done and was passed by a newer owner is lost.
    pub(super) fn finish(&mut self, judge: bool) -> Findings {
        let mut findings = std::mem::take(&mut self.findings);
        findings.keys = self.keys.len() as u64;
        for ((topic, partition), shard) in &self.shards {
            findings.fences += shard.owners.len() as u64;
            for (offset, state) in shard.states.iter().filter(|(_, state)| state & POLLED != 0) {
                findings.records += 1;
                findings.done += u64::from(state & DONE != 0);
                findings.set_aside += u64::from(state & (DONE | ASIDE) == ASIDE);
                findings.gone += u64::from(state & OVER == GONE);
                if state & OVER != 0 {
                    continue;
                }
                let passed =
                    state & CURRENT == 0 && shard.furthest.is_some_and(|furthest| furthest >= offset);
                if judge && passed {
                    let newest = shard.fence;
                    findings.broken(Kind::Lost, || {
                        format!("{topic}/{partition}@{offset} was never done, and {newest} went past it")
                    });
                } else {
                    findings.unfinished += 1;
                }
            }
        }
        findings
    }

    /// Holds a record that was sent against what is known.
    pub(super) fn expect(&mut self, sent: &Sent, findings: &mut Findings) {
        let shard = self.shards.get(&(Arc::from(sent.topic.as_str()), sent.partition));
        let state = shard.map(|shard| shard.states.get(sent.offset));
        if state.is_none_or(|state| state & OVER == 0) {
            let Sent { topic, partition, offset, .. } = sent;
            findings.broken(Kind::Lost, || format!("{topic}/{partition}@{offset} was sent and never done"));
        }
    }
}

fn owned(shard: &mut Shard, line: &Line, findings: &mut Findings) {
    let Line { topic, partition, member, fence, wall_ms, .. } = line;
    if let Some(other) = shard.owners.insert(*fence, Arc::clone(member)).filter(|other| other != member) {
        findings.broken(Kind::DoubleOwnership, || {
            format!("{topic}/{partition} was owned by {other} and {member} under the one fence {fence}")
        });
    }
    match shard.newest {
        Some((newest, _)) if *fence < newest => findings.broken(Kind::DoubleOwnership, || {
            format!("{topic}/{partition} was owned by {member} under {fence} after a newer fence, {newest}")
        }),
        Some((newest, _)) if *fence == newest => {}
        _ => shard.newest = Some((*fence, *wall_ms)),
    }
}

fn polled(shard: &mut Shard, event: &Event<'_>, findings: &mut Findings) {
    let is_current = event.line.fence == shard.fence;
    let is_behind = shard.furthest.is_some_and(|furthest| event.offset < furthest);
    let state = shard.state(event.offset);
    let again = is_current && *state & CURRENT != 0;
    if is_current && *state & ASIDE != 0 && (again || is_behind) {
        *state |= RELEASED;
        return;
    }
    if again {
        findings.broken(Kind::Order, || format!("{} was polled again", event.place()));
        return;
    }
    *state |= POLLED | if is_current { CURRENT } else { 0 };
    if let Some(key) = event.key {
        let lane = shard.lanes.entry(key).or_default();
        lane.enter(event.line.fence);
        if lane.fence == event.line.fence {
            lane.pending.push_back(event.offset);
        }
    }
}

fn started(shard: &mut Shard, event: &Event<'_>, findings: &mut Findings) {
    let (line, offset) = (event.line, event.offset);
    findings.attempts += 1;
    if let Some((newest, since)) = shard.newest
        && line.fence < newest
        && line.wall_ms > since
    {
        findings.broken(Kind::DoubleOwnership, || {
            format!("{} was started after {newest} had taken the shard over", event.place())
        });
    }
    let state = *shard.state(offset);
    findings.duplicates += u64::from(state & DONE != 0 && line.attempt.is_none_or(|attempt| attempt <= 1));
    if state & RELEASED != 0 {
        return;
    }
    if state & DONE_NOW != 0 && line.fence == shard.fence {
        findings.broken(Kind::Order, || format!("{} was started again after it was done", event.place()));
    }
    let Some(key) = event.key else { return };
    let lane = shard.lanes.entry(key).or_default();
    lane.enter(line.fence);
    if lane.fence != line.fence {
        return;
    }
    lane.overlapped |= lane.older.is_some();
    if let Some(open) = lane.open {
        findings
            .broken(Kind::DoubleHandling, || format!("{} was started while {open} executed", event.place()));
    }
    if let Some(furthest) = lane.furthest.filter(|furthest| offset < *furthest) {
        findings.broken(Kind::Order, || format!("{} was started after {furthest}", event.place()));
    }
    lane.open = Some(offset);
    lane.furthest = lane.furthest.max(Some(offset));
    let mut passed = Vec::new();
    while let Some(before) = lane.pending.front().copied().filter(|before| *before < offset) {
        lane.pending.pop_front();
        passed.push(before);
    }
    for before in passed {
        // What was done under an older fence is done.
        if *shard.state(before) & OVER == 0 {
            findings
                .broken(Kind::Order, || format!("{} passed {before}, which had not ended", event.place()));
        }
    }
}

fn ended(shard: &mut Shard, event: &Event<'_>, findings: &mut Findings) {
    let (line, offset) = (event.line, event.offset);
    let is_current = line.fence == shard.fence;
    let state = shard.state(offset);
    if line.verdict == Some(Ending::Done) {
        *state = (*state & !ASIDE) | DONE | if is_current { DONE_NOW } else { 0 };
    }
    let is_done = *state & DONE != 0;
    let Some(lane) = event.key.and_then(|key| shard.lanes.get_mut(&key)) else { return };
    if lane.fence == line.fence && lane.open == Some(offset) {
        lane.open = None;
    }
    if lane.older == Some((line.fence, offset)) {
        lane.older = None;
        if std::mem::take(&mut lane.overlapped) {
            // A member that was frozen or cut off can't recall what executes; it must not count it.
            if line.verdict == Some(Ending::Cancelled) {
                findings.late += 1;
            } else {
                findings.broken(Kind::DoubleHandling, || {
                    format!("{} executed while {} had started the key anew", event.place(), lane.fence)
                });
            }
        }
    }
    if is_done {
        leave(lane, offset);
    }
}

/// It ends without a handler.
fn over(shard: &mut Shard, event: &Event<'_>, how: u8) {
    *shard.state(event.offset) |= how;
    if let Some(lane) = event.key.and_then(|key| shard.lanes.get_mut(&key)) {
        leave(lane, event.offset);
    }
}

fn leave(lane: &mut Lane, offset: i64) {
    if let Some(place) = lane.pending.iter().position(|pending| *pending == offset) {
        lane.pending.remove(place);
    }
}

#[cfg(test)]
mod tests;
