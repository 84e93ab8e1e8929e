//! Whether an object is too far behind, by the threshold that its user has set. Pure.

use std::time::Duration;

use keyweir_contract::duration;
use keyweir_crds::observability::LagThresholdSpec;

use super::validate::Refusal;
use crate::cluster::conditions::Truth;

/// Nothing is known, and nobody is there to tell.
const NOBODY: &str = "no worker is there to tell";

/// From when on an object is too far behind: either is enough, and one that is absent is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LagThreshold {
    age: Option<Duration>,
    records: Option<i64>,
}

/// What there is to go by. `None` = unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Records that are not complete.
    pub records: Option<i64>,
    /// Age of the oldest of them in seconds.
    pub seconds: Option<i64>,
}

impl LagThreshold {
    /// The threshold that the user has set.
    pub fn read(spec: &LagThresholdSpec) -> Result<Self, Refusal> {
        let age = match spec.age.as_str() {
            "" => None,
            text => Some(duration::parse(text).map_err(|error| {
                Refusal::of_spec("Invalid", format!("spec.observability.lagThreshold.age: {error}"))
            })?),
        };
        Ok(Self { age, records: spec.records })
    }

    /// Whether anything is looked at.
    pub fn is_set(&self) -> bool {
        self.age.is_some() || self.records.is_some()
    }

    /// Truth, reason and message of the condition. One that was above comes back at four fifths only, so that it does not
    /// go to and fro.
    pub fn judge(&self, behind: Option<Backlog>, was_above: bool) -> (Truth, &'static str, String) {
        let Some(Backlog { records, seconds }) = behind else {
            return (Truth::Unknown, "LagUnknown", NOBODY.to_owned());
        };
        let reaches = |value: i64, limit: i64| value >= if was_above { limit - limit / 5 } else { limit };
        let old = self.age.zip(seconds).filter(|(limit, seconds)| {
            reaches(seconds.saturating_mul(1000), i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
        });
        let many = self.records.zip(records).filter(|(limit, records)| reaches(*records, *limit));
        // Without the numbers themselves: they change all the time.
        if let Some((limit, _)) = old {
            return (Truth::True, "AboveThreshold", format!("the oldest record is older than {limit:?}"));
        }
        if let Some((limit, _)) = many {
            return (Truth::True, "AboveThreshold", format!("more than {limit} records are not complete"));
        }
        let known = records == Some(0)
            || (self.age.is_none() || seconds.is_some()) && (self.records.is_none() || records.is_some());
        if known {
            (Truth::False, "BelowThreshold", String::new())
        } else {
            (Truth::Unknown, "LagUnknown", "not all workers can tell how far they are behind".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        age: &str,
        limit: Option<i64>,
        records: Option<i64>,
        seconds: Option<i64>,
        was: bool,
    ) -> &'static str {
        let spec = LagThresholdSpec { age: age.into(), records: limit };
        let threshold = LagThreshold::read(&spec).unwrap_or_default();
        threshold.judge(Some(Backlog { records, seconds }), was).1
    }

    #[test]
    fn either_of_both_is_enough() {
        assert_eq!(judged("5m", None, Some(9), Some(299), false), "BelowThreshold");
        assert_eq!(judged("5m", None, Some(9), Some(300), false), "AboveThreshold");
        assert_eq!(judged("5m", Some(1000), Some(1000), Some(1), false), "AboveThreshold");
        assert_eq!(judged("", Some(1000), Some(999), None, false), "BelowThreshold");
    }

    #[test]
    fn what_is_not_known_is_neither() {
        assert_eq!(judged("5m", None, Some(9), None, false), "LagUnknown");
        assert_eq!(judged("5m", Some(5), Some(9), None, false), "AboveThreshold", "the records are enough");
        assert_eq!(judged("5m", Some(5), None, None, true), "LagUnknown");
        assert_eq!(judged("5m", None, Some(0), None, false), "BelowThreshold", "nothing is to be done");
        assert_eq!(LagThreshold::default().judge(None, true).1, "LagUnknown");
    }

    #[test]
    fn it_does_not_go_to_and_fro() {
        assert_eq!(judged("5m", None, Some(9), Some(241), true), "AboveThreshold");
        assert_eq!(judged("5m", None, Some(9), Some(239), true), "BelowThreshold");
    }
}
