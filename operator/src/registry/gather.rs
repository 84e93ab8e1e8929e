//! Many answers, one picture. Pure.
//!
//! A number is there only when nothing is missing for it: the lag of an object is known when the lag of each of its
//! shards is. Big numbers are rounded, so that a status does not change with every record.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use keyweir_contract::meter::Measured;
use keyweir_crds::status::{LastErrorStatus, ShardsStatus};
use serde::Deserialize;

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
    /// The shards it owns.
    #[serde(default)]
    pub shards: Vec<ShardAnswer>,
    /// What is wrong.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
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
    /// Changes were lost that its source can no longer show.
    #[serde(default)]
    pub history_lost: bool,
}

/// Something that is wrong, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Workers that answered.
    pub answers: usize,
    /// Live members.
    pub members: Option<i32>,
    /// Shards, and how many have an owner.
    pub shards: Option<ShardsStatus>,
    /// Records behind, exactly; the rounded number is what is shown.
    pub lag: Option<i64>,
    /// Records that are executing, exactly.
    pub in_flight: Option<i64>,
    /// Records that those who answered have completed since they began; `None`: nobody counts.
    pub completed: Option<i64>,
    /// Whether a worker has ever begun.
    pub started: bool,
    /// What is wrong, each thing once.
    pub troubles: Vec<Trouble>,
    /// How busy each worker is that answered.
    pub loads: Vec<Load>,
    /// Shards that have lost changes since their workers own them.
    pub history_lost: usize,
}

/// Two pictures are equal that a user could not tell apart.
impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        let words = |picture: &Self| -> Vec<(String, String)> {
            picture.troubles.iter().map(|trouble| (trouble.about.clone(), trouble.reason.clone())).collect()
        };
        (self.answers == 0) == (other.answers == 0)
            && self.members == other.members
            && self.shards == other.shards
            && self.started == other.started
            && self.lag.map(rounded) == other.lag.map(rounded)
            && self.in_flight.map(rounded) == other.in_flight.map(rounded)
            && self.history_lost == other.history_lost
            && words(self) == words(other)
    }
}

/// Puts the answers about the object `name` together. `shared`: no worker knows all of it.
pub fn gather(name: &str, shared: bool, said: Vec<Said>) -> Picture {
    let mut loads = Vec::new();
    let mut answers = Vec::new();
    for Said { address, objects } in said {
        for answer in objects.into_iter().filter(|answer| answer.name == name) {
            loads.push(Load { address, in_flight: answer.in_flight, shards: answer.shards.len() });
            answers.push(answer);
        }
    }
    if answers.is_empty() {
        return Picture::default();
    }
    let mut lags: BTreeMap<&str, Option<i64>> = BTreeMap::new();
    for shard in answers.iter().flat_map(|answer| &answer.shards) {
        let lag = lags.entry(&shard.shard).or_default();
        // Two owners at a time are one that has just given it away: the newer one is not behind the older one.
        *lag = match (*lag, shard.lag) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let fleet = answers.iter().filter_map(|answer| answer.fleet).max_by_key(|fleet| fleet.shards);
    let own = i32::try_from(lags.len()).unwrap_or(i32::MAX);
    let (members, shards) = match fleet {
        Some(fleet) => {
            let owned = fleet.shards - fleet.unowned;
            (Some(fleet.members), Some(ShardsStatus { total: fleet.shards, owned }))
        }
        None if shared => (None, None),
        None => (Some(1), Some(ShardsStatus { total: own, owned: own })),
    };
    let whole = shards.is_some_and(|shards| shards.total > 0 && shards.total == own);
    let lag = lags.values().copied().sum::<Option<i64>>().filter(|_| whole);
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
        in_flight: Some(answers.iter().map(|answer| answer.in_flight).sum()),
        completed: Some(answers.iter().map(|answer| answer.completed).sum()),
        started: true,
        history_lost: answers
            .iter()
            .flat_map(|answer| &answer.shards)
            .filter(|shard| shard.history_lost)
            .count(),
        troubles,
        loads,
    }
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

    /// What has gone wrong since the picture before.
    pub(super) fn error_after(&self, before: Option<&Picture>, now: Timestamp) -> Option<LastErrorStatus> {
        let known = |trouble: &&Trouble| {
            let before = before.iter().flat_map(|before| &before.troubles);
            !before.into_iter().any(|old| old.about == trouble.about && old.reason == trouble.reason)
        };
        self.troubles.iter().find(known).map(|trouble| LastErrorStatus {
            reason: trouble.reason.clone(),
            message: shortened(format!("{}: {}", trouble.about, trouble.text)),
            time: Time(now),
        })
    }
}

/// The number with two digits that count: 0 to 99 as they are, 12345 as 12000.
pub fn rounded(number: i64) -> i64 {
    let mut unit = 1;
    while number / unit >= 100 {
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
        let error = picture.error_after(None, now).expect("an error");
        assert_eq!(
            (error.reason.as_str(), error.message.as_str()),
            ("TopicMissing", "source: no topic orders")
        );
        assert_eq!(picture.error_after(Some(&picture), now), None);
    }

    #[test]
    fn small_changes_of_big_numbers_are_none() {
        assert_eq!([0, 7, 99, 100, 105, 12_345].map(rounded), [0, 7, 99, 100, 100, 12_000]);
        let with = |lag| Picture { answers: 1, lag: Some(lag), ..Picture::default() };
        assert!(with(12_345) == with(12_999) && with(0) != with(1));
    }
}
