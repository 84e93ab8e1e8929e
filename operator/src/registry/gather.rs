//! Many answers, one picture. Pure.
//!
//! A number is there only when nothing is missing for it: the lag of an object is known when the lag of each of its
//! shards is. Big numbers are rounded, so that a status does not change with every record.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use keyweir_contract::meter::Measured;
use keyweir_crds::status::{LastErrorStatus, ShardsStatus};
use serde::{Deserialize, Serialize};

use super::notices::Notice;

/// Why an attempt failed whose handler promised signs of life and gave none.
const STUCK: &str = "HandlerStuck";
/// So many seconds after that the handler counts as stuck.
const STUCK_FOR: u32 = 60;
/// An attempt that fails with the word that was told last is told again after this time, one with another word after
/// that.
const SAME_AGAIN: SignedDuration = SignedDuration::from_mins(5);
const OTHER_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What a worker says of one object. What a worker of another version says besides is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// `namespace/name`.
    pub name: String,
    /// Records that are executing.
    pub in_flight: i64,
    /// Records that it has completed since it began.
    #[serde(default)]
    pub completed: i64,
    /// What it knows of all members, where there are several.
    #[serde(default)]
    pub fleet: Option<FleetAnswer>,
    /// Records that are kept aside; `None`: unknown.
    #[serde(default)]
    pub kept_aside: Option<i64>,
    /// The shards it owns.
    #[serde(default)]
    pub shards: Vec<ShardAnswer>,
    /// What is wrong.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// The last attempt that failed.
    #[serde(default)]
    pub last_failure: Option<LastFailure>,
    /// What has happened once.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// Bytes that its process holds in memory; `None`: unknown.
    #[serde(default)]
    pub memory: Option<i64>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// The stable word.
    pub reason: String,
    /// A sentence.
    pub text: String,
    /// How long ago.
    pub seconds_ago: u32,
}

/// What one worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Where it was asked.
    pub address: IpAddr,
    /// Of each of its objects.
    pub objects: Vec<Answer>,
}

/// What a member knows of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct FleetAnswer {
    /// Live members.
    pub members: i32,
    /// Shards there are.
    pub shards: i32,
    /// Shards without an owner.
    pub unowned: i32,
}

/// A shard that a worker owns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardAnswer {
    /// Which.
    pub shard: String,
    /// Records behind its frontier; `None`: unknown.
    #[serde(default)]
    pub lag: Option<i64>,
    /// Age of the oldest of them; `None`: unknown.
    #[serde(default)]
    pub lag_seconds: Option<i64>,
    /// Changes were lost that its source can no longer show.
    #[serde(default)]
    pub history_lost: bool,
}

/// Something that is wrong, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// `source`, `coordination`, `checkpoints`, `handler/<route>`, a shard, a topic.
    pub about: String,
    /// The stable word.
    pub reason: String,
    /// A sentence.
    pub text: String,
}

/// How busy one worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Where it was asked.
    pub address: IpAddr,
    /// Records that it executes.
    pub in_flight: i64,
    /// Shards that it owns.
    pub shards: usize,
}

/// An object as its workers see it together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// Workers that answered.
    pub answers: usize,
    /// Live members.
    pub members: Option<i32>,
    /// Shards, and how many have an owner.
    pub shards: Option<ShardsStatus>,
    /// Records behind, exactly; the rounded number is what is shown.
    pub lag: Option<i64>,
    /// Age of the oldest of them in seconds, exactly.
    pub seconds: Option<i64>,
    /// Records that are kept aside.
    pub parked: Option<i64>,
    /// Bytes that a worker holds in memory, on average.
    pub memory: Option<i64>,
    /// Records that are executing, exactly.
    pub in_flight: Option<i64>,
    /// Records that those who answered have completed since they began; `None`: nobody counts.
    pub completed: Option<i64>,
    /// Whether a worker has ever begun.
    pub started: bool,
    /// What is wrong, each thing once.
    pub troubles: Vec<Trouble>,
    /// The last attempt that failed.
    pub last_failure: Option<LastFailure>,
    /// What has happened once, and where it was said.
    pub notices: Vec<(IpAddr, Notice)>,
    /// How busy each worker is that answered.
    pub loads: Vec<Load>,
    /// Shards that have lost changes since their workers own them.
    pub history_lost: usize,
}

/// What changes all the time and is shown now and then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    lag: Option<i64>,
    seconds: Option<i64>,
    in_flight: Option<i64>,
    parked: Option<i64>,
}

/// Puts the answers about the object `name` together. `shared`: no worker knows all of it.
pub fn gather(name: &str, shared: bool, said: Vec<Said>) -> Picture {
    let (mut loads, mut answers, mut notices) = (Vec::new(), Vec::new(), Vec::new());
    for Said { address, objects } in said {
        for answer in objects.into_iter().filter(|answer| answer.name == name) {
            loads.push(Load { address, in_flight: answer.in_flight, shards: answer.shards.len() });
            notices.extend(answer.notices.iter().map(|notice| (address, notice.clone())));
            answers.push(answer);
        }
    }
    if answers.is_empty() {
        return Picture::default();
    }
    let mut lags: BTreeMap<&str, (Option<i64>, Option<i64>)> = BTreeMap::new();
    // Two owners at a time are one that has just given it away: the newer one is not behind the older one.
    let newer = |one: Option<i64>, other: Option<i64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    for shard in answers.iter().flat_map(|answer| &answer.shards) {
        let (lag, seconds) = lags.entry(&shard.shard).or_default();
        (*lag, *seconds) = (newer(*lag, shard.lag), newer(*seconds, shard.lag_seconds));
    }
    let fleet = answers.iter().filter_map(|answer| answer.fleet).max_by_key(|fleet| fleet.shards);
    // By ordinal a member knows of itself only.
    let heard = answers.iter().filter(|answer| answer.fleet.is_some()).count();
    let heard = i32::try_from(heard).unwrap_or(i32::MAX);
    let own = i32::try_from(lags.len()).unwrap_or(i32::MAX);
    let (members, shards) = match fleet {
        Some(fleet) => {
            let owned = fleet.shards - fleet.unowned;
            (Some(fleet.members.max(heard)), Some(ShardsStatus { total: fleet.shards, owned }))
        }
        None if shared => (None, None),
        None => (Some(1), Some(ShardsStatus { total: own, owned: own })),
    };
    let whole = shards.is_some_and(|shards| shards.total > 0 && shards.total == own);
    let lag = lags.values().map(|(lag, _)| *lag).sum::<Option<i64>>().filter(|_| whole);
    let oldest = lags.values().try_fold(0, |most, (_, seconds)| seconds.map(|seconds| most.max(seconds)));
    let mut troubles: Vec<Trouble> = Vec::new();
    for trouble in answers.iter().flat_map(|answer| &answer.troubles) {
        if !troubles.iter().any(|known| known.about == trouble.about && known.reason == trouble.reason) {
            troubles.push(trouble.clone());
        }
    }
    troubles.sort_by(|one, other| (&one.about, &one.reason).cmp(&(&other.about, &other.reason)));
    Picture {
        answers: answers.len(),
        members,
        shards,
        lag,
        seconds: oldest.filter(|_| whole),
        // Where they lie each of them sees all of them.
        parked: answers.iter().filter_map(|answer| answer.kept_aside).max(),
        memory: memory(&answers),
        in_flight: Some(answers.iter().map(|answer| answer.in_flight).sum()),
        completed: Some(answers.iter().map(|answer| answer.completed).sum()),
        started: true,
        history_lost: answers
            .iter()
            .flat_map(|answer| &answer.shards)
            .filter(|shard| shard.history_lost)
            .count(),
        troubles,
        last_failure: last_failure(&answers),
        notices,
        loads,
    }
}

fn memory(answers: &[Answer]) -> Option<i64> {
    let all = answers.iter().map(|answer| answer.memory).sum::<Option<i64>>()?;
    all.checked_div(i64::try_from(answers.len()).unwrap_or(i64::MAX))
}

fn last_failure(answers: &[Answer]) -> Option<LastFailure> {
    let all = answers.iter().filter_map(|answer| answer.last_failure.as_ref());
    all.min_by_key(|failure| failure.seconds_ago).cloned()
}

/// What a meter says of an object without workers, as a picture.
pub fn metered(measured: &Measured) -> Picture {
    let picture = Picture { answers: 1, members: Some(0), in_flight: Some(0), ..Picture::default() };
    match measured {
        Measured::Backlog(backlog) => Picture {
            shards: Some(ShardsStatus { total: i32::try_from(backlog.shards).unwrap_or(i32::MAX), owned: 0 }),
            lag: Some(i64::try_from(backlog.records).unwrap_or(i64::MAX)),
            started: backlog.started,
            ..picture
        },
        Measured::Trouble(trouble) => {
            let (reason, text) = (trouble.reason.clone(), trouble.text.clone());
            Picture { troubles: vec![Trouble { about: "source".to_owned(), reason, text }], ..picture }
        }
    }
}

impl Picture {
    /// The trouble with what `about` begins with, if there is one.
    pub fn trouble_with(&self, about: &str) -> Option<&Trouble> {
        self.troubles.iter().find(|trouble| trouble.about.starts_with(about))
    }

    /// Whether workers say that a shard has no owner.
    pub(super) fn lacks_owners(&self) -> bool {
        !self.loads.is_empty() && self.shards.is_some_and(|shards| shards.owned < shards.total)
    }

    /// What changes all the time, as it is shown.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            lag: self.lag.map(rounded),
            seconds: self.seconds.map(quantised),
            in_flight: self.in_flight.map(rounded),
            parked: self.parked,
        }
    }

    /// Whether the two say the same but for the numbers that change all the time. A lag that is known is told from one
    /// that is not, and the first parked record from none.
    pub fn reads_like(&self, other: &Self) -> bool {
        let words = |picture: &Self| -> Vec<(String, String)> {
            picture.troubles.iter().map(|trouble| (trouble.about.clone(), trouble.reason.clone())).collect()
        };
        let coarse = |picture: &Self| (picture.lag.is_some(), picture.parked.map(|parked| parked > 0));
        (self.answers == 0) == (other.answers == 0)
            && self.members == other.members
            && self.shards == other.shards
            && self.started == other.started
            && self.history_lost == other.history_lost
            && self.is_stuck() == other.is_stuck()
            && coarse(self) == coarse(other)
            && words(self) == words(other)
    }

    /// Whether a handler that promised signs of life has lately given none.
    pub fn is_stuck(&self) -> bool {
        self.last_failure.as_ref().is_some_and(|last| last.reason == STUCK && last.seconds_ago < STUCK_FOR)
    }

    /// What has gone wrong since the picture before; `told` is what was told last.
    pub(super) fn error_after(
        &self,
        before: Option<&Picture>,
        told: Option<&LastErrorStatus>,
        now: Timestamp,
    ) -> Option<LastErrorStatus> {
        let known = |trouble: &&Trouble| {
            let before = before.iter().flat_map(|before| &before.troubles);
            !before.into_iter().any(|old| old.about == trouble.about && old.reason == trouble.reason)
        };
        if let Some(trouble) = self.troubles.iter().find(known) {
            let message = shortened(format!("{}: {}", trouble.about, trouble.text));
            return Some(LastErrorStatus { reason: trouble.reason.clone(), message, time: Time(now) });
        }
        // Many attempts may fail.
        let last = self.last_failure.as_ref()?;
        let at = now.saturating_sub(SignedDuration::from_secs(last.seconds_ago.into())).unwrap_or(now);
        let is_news = told.is_none_or(|told| {
            let later = at.duration_since(told.time.0);
            later > if told.reason == last.reason { SAME_AGAIN } else { OTHER_AGAIN }
        });
        let message = shortened(last.text.clone());
        is_news.then(|| LastErrorStatus { reason: last.reason.clone(), message, time: Time(at) })
    }
}

/// The number with two digits that count: 0 to 99 as they are, 12345 as 12000.
pub fn rounded(number: i64) -> i64 {
    leading(2, number)
}

/// The number with one digit that counts: 47 as 40, 1234 as 1000. What grows with the clock is shown less and less often.
pub fn quantised(number: i64) -> i64 {
    leading(1, number)
}

fn leading(digits: u32, number: i64) -> i64 {
    let mut unit = 1;
    while number / unit >= 10_i64.pow(digits) {
        unit *= 10;
    }
    number / unit * unit
}

/// A sentence that fits a status.
pub fn shortened(mut text: String) -> String {
    const LENGTH: usize = 500;
    if text.len() > LENGTH {
        let end = (0..=LENGTH).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn worker(shards: &[(&str, Option<i64>)], troubles: Value) -> Said {
        let shards: Vec<_> = shards.iter().map(|(shard, lag)| json!({"shard": shard, "lag": lag})).collect();
        let said = json!([{
            "name": "shop/orders", "inFlight": 3, "polled": 9, "shards": shards, "troubles": troubles,
            "fleet": {"members": 2, "shards": 3, "unowned": 1},
        }]);
        let objects = serde_json::from_value(said).expect("an answer");
        Said { address: [10, 0, 0, 1].into(), objects }
    }

    #[test]
    fn a_lag_is_known_when_each_shard_is() {
        let first = worker(&[("orders/0", Some(5)), ("orders/1", Some(7))], json!([]));
        let picture = gather("shop/orders", true, vec![first.clone()]);
        assert_eq!((picture.lag, picture.in_flight, picture.members), (None, Some(3), Some(2)));
        assert_eq!(picture.shards, Some(ShardsStatus { total: 3, owned: 2 }));

        let unknown = worker(&[("orders/2", None)], json!([]));
        assert_eq!(gather("shop/orders", true, vec![first.clone(), unknown]).lag, None);
        let second = worker(&[("orders/2", Some(0)), ("orders/1", Some(6))], json!([]));
        assert_eq!(gather("shop/orders", true, vec![first, second]).lag, Some(11));
    }

    #[test]
    fn silence_is_no_zero() {
        assert_eq!(gather("shop/orders", true, vec![]), Picture::default());
        let other = gather("shop/other", true, vec![worker(&[], json!([]))]);
        assert_eq!((other.lag, other.in_flight, other.answers), (None, None, 0));
    }

    #[test]
    fn a_trouble_is_told_once_and_is_an_error_when_it_is_new() {
        let trouble = json!([{"about": "source", "reason": "TopicMissing", "text": "no topic orders"}]);
        let two = vec![worker(&[], trouble.clone()), worker(&[], trouble)];
        let picture = gather("shop/orders", true, two);
        assert_eq!(picture.troubles.len(), 1);
        let now = Timestamp::now();
        let error = picture.error_after(None, None, now).expect("an error");
        assert_eq!(
            (error.reason.as_str(), error.message.as_str()),
            ("TopicMissing", "source: no topic orders")
        );
        assert_eq!(picture.error_after(Some(&picture), Some(&error), now), None);
    }

    #[test]
    fn small_changes_of_big_numbers_are_none() {
        assert_eq!([0, 7, 99, 100, 105, 12_345].map(rounded), [0, 7, 99, 100, 100, 12_000]);
        assert_eq!([0, 7, 47, 99, 100, 1234].map(quantised), [0, 7, 40, 90, 100, 1000]);
        let with = |lag| Picture { answers: 1, lag: Some(lag), ..Picture::default() };
        assert!(with(12_345).numbers() == with(12_999).numbers() && with(0).numbers() != with(1).numbers());
        assert!(with(0).reads_like(&with(1)) && !with(0).reads_like(&Picture { lag: None, ..with(0) }));
        let parked = |parked| Picture { parked: Some(parked), ..with(0) };
        assert!(!parked(0).reads_like(&parked(1)) && parked(1).reads_like(&parked(2)));
    }

    #[test]
    fn the_oldest_record_of_all_shards_makes_the_age_and_parked_records_are_counted_once() {
        let said = |number: u8, shards: Value| {
            let said = json!([{"name": "shop/orders", "inFlight": 0, "keptAside": 4, "shards": shards,
                "fleet": {"members": 2, "shards": 3, "unowned": 0}}]);
            Said {
                address: [10, 0, 0, number].into(),
                objects: serde_json::from_value(said).expect("an answer"),
            }
        };
        let shard = |number, seconds: Option<i64>| json!({"shard": format!("orders/{number}"), "lag": 3, "lagSeconds": seconds});
        let first = said(1, json!([shard(0, Some(4)), shard(1, Some(70))]));
        let whole = gather("shop/orders", true, vec![first.clone(), said(2, json!([shard(2, Some(9))]))]);
        assert_eq!((whole.lag, whole.seconds, whole.parked), (Some(9), Some(70), Some(4)));
        let partly = gather("shop/orders", true, vec![first, said(2, json!([shard(2, None)]))]);
        assert_eq!((partly.lag, partly.seconds), (Some(9), None));
    }

    #[test]
    fn a_failed_attempt_is_an_error_and_is_not_told_with_each_record() {
        let failing = |reason: &str, ago| Picture {
            answers: 1,
            last_failure: Some(LastFailure {
                reason: reason.to_owned(),
                text: "on purpose".to_owned(),
                seconds_ago: ago,
            }),
            ..Picture::default()
        };
        let now = Timestamp::now();
        let later = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).expect("a time");
        let first = failing("HandlerTimeout", 2).error_after(None, None, now).expect("an error");
        assert_eq!((first.reason.as_str(), first.time.0), ("HandlerTimeout", later(-2)));
        let again =
            |reason, seconds| failing(reason, 0).error_after(None, Some(&first), later(seconds)).is_some();
        assert!(!again("HandlerTimeout", 200) && again("HandlerTimeout", 300));
        assert!(!again("HandlerFailed", 20) && again("HandlerFailed", 40));
        assert!(failing("HandlerStuck", 59).is_stuck() && !failing("HandlerStuck", 60).is_stuck());
    }
}
