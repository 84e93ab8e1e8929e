//! Conditions of a status: set by type, their transition times kept. Pure; the time is an argument.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody could tell.
    Unknown,
}

impl Truth {
    /// The word the API has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The conditions of one object as they are to be written.
#[derive(Debug, Clone)]
pub struct Conditions {
    generation: Option<i64>,
    now: Timestamp,
    list: Vec<Condition>,
}

impl Conditions {
    /// Starts from the conditions that the object has, to be set anew for that generation.
    pub fn renewed(previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { generation, now, list: previous.to_vec() }
    }

    /// Says of the condition `type_` what holds now. Its transition time changes only with its truth.
    pub fn set(&mut self, type_: &str, truth: Truth, reason: &str, message: impl Into<String>) {
        let position = self.list.iter().position(|condition| condition.type_ == type_);
        let since = position
            .map(|at| &self.list[at])
            .filter(|condition| condition.status == truth.as_str())
            .map_or(Time(self.now), |condition| condition.last_transition_time.clone());
        let condition = Condition {
            type_: type_.to_owned(),
            status: truth.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation: self.generation,
            last_transition_time: since,
        };
        match position {
            Some(at) => self.list[at] = condition,
            None => self.list.push(condition),
        }
    }

    /// Whether the condition `type_` is true, as it is set now.
    pub fn holds(&self, type_: &str) -> bool {
        find(&self.list, type_).is_some_and(|condition| condition.status == Truth::True.as_str())
    }

    /// Removes a condition that does not apply any more.
    pub fn clear(&mut self, type_: &str) {
        self.list.retain(|condition| condition.type_ != type_);
    }

    /// The conditions, in the order in which they were first set.
    pub fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

/// The condition of that type, if the object has it.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    #[test]
    fn the_transition_time_changes_with_the_truth_only() {
        let mut first = Conditions::renewed(&[], Some(1), at(10));
        first.set("Ready", Truth::False, "RollingOut", "0 of 1");
        let mut second = Conditions::renewed(&first.into_list(), Some(2), at(20));
        second.set("Ready", Truth::False, "CrashLoop", "it fails");
        let second = second.into_list();
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("CrashLoop", Some(2)));

        let mut third = Conditions::renewed(&second, Some(2), at(30));
        third.set("Ready", Truth::True, "Available", "");
        assert_eq!(third.into_list()[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn each_type_is_there_once() {
        let mut conditions = Conditions::renewed(&[], None, at(0));
        conditions.set("Ready", Truth::True, "A", "");
        conditions.set("Stalled", Truth::False, "A", "");
        conditions.set("Ready", Truth::False, "B", "");
        conditions.clear("Stalled");
        let list = conditions.into_list();
        assert_eq!(list.len(), 1);
        assert!(find(&list, "Ready").is_some_and(|ready| ready.reason == "B"));
    }
}
