//! What a meter says of the objects that it measures: how far each is behind, asked of its broker.
//!
//! `GET /v1/readings?after=VERSION&wait=SECONDS` is answered with [`Readings`]: at once while the version is not the
//! newest any more, else when something changes that is worth it, at the latest after the wait.

use serde::{Deserialize, Serialize};

/// All that a meter knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Readings {
    /// Another one whenever an object falls behind or catches up, or trouble comes or goes.
    pub version: u64,
    /// One for each object that was asked about; one that is missing was not measured yet.
    pub objects: Vec<Reading>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// `namespace/name`.
    pub name: String,
    /// The uid of the object that was measured.
    pub uid: String,
    /// How far it is behind, or why that is not known.
    #[serde(flatten)]
    pub measured: Measured,
    /// What became of the topics that it wants to be made; absent: it wants none, or nobody has looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioning>,
}

/// What became of the topics that an object wants to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provisioning {
    /// Which topics were wanted: [`WorkerConfig::provision_hash`](crate::WorkerConfig::provision_hash).
    pub wanted: String,
    /// The stable word, as the condition has it: [`Provisioning::AS_WANTED`], or what is in the way.
    pub reason: String,
    /// A sentence; empty where there is nothing to say.
    pub text: String,
}

impl Provisioning {
    /// All topics are there as they are wanted.
    pub const AS_WANTED: &str = "AsWanted";
    /// A topic is there and differs.
    pub const MISMATCH: &str = "Mismatch";
}

/// How far an object is behind, or why that is not known: never zero in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measured {
    /// It is known.
    Backlog(Backlog),
    /// It is not.
    Trouble(MeterTrouble),
}

/// How far an object is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backlog {
    /// Records that are not complete: from the group's offset, or from where the object would start.
    pub records: u64,
    /// Shards of the source.
    pub shards: u32,
    /// Whether a worker has ever begun. Before that nobody has laid down where the object starts.
    pub started: bool,
}

/// Why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeterTrouble {
    /// The stable word, as conditions have it.
    pub reason: String,
    /// A sentence.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_number() {
        let trouble = MeterTrouble { reason: "Timeout".to_owned(), text: "nobody answers".to_owned() };
        let reading = Reading {
            name: "shop/orders".to_owned(),
            uid: "1".to_owned(),
            measured: Measured::Trouble(trouble),
            provisioned: None,
        };
        let written = serde_json::to_value(&reading).expect("plain data");
        assert_eq!(written["backlog"], serde_json::Value::Null);
        assert_eq!(serde_json::from_value::<Reading>(written).expect("what is written reads"), reading);
    }
}
