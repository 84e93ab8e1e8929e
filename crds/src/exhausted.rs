//! What becomes of records that can't be handled: dead letter, park, skip or stop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{provision::ProvisionSpec, quantities::TopicName, rules::rule};

/// What becomes of a record whose last attempt failed, or that can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = action_rules()))]
pub struct ExhaustedSpec {
    /// DeadLetter, Park, Skip or Stop. Absent: DeadLetter where one is named, else Park.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<EndAction>,
    /// For DeadLetter: where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetterSpec>,
    /// For Park: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park: Option<ParkSpec>,
}

/// What becomes of a record that no route takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = action_rules()))]
pub struct UnknownSpec {
    /// Default: the object's handler has it. Or DeadLetter, Park, Skip, Stop.
    #[serde(default)]
    pub action: UnknownAction,
    /// For DeadLetter: where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetterSpec>,
    /// For Park: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park: Option<ParkSpec>,
}

fn action_rules() -> Value {
    json!([
        rule(
            "!has(self.action) || self.action != 'DeadLetter' || has(self.deadLetter)",
            "name the topic: add deadLetter.topic",
        ),
        rule(
            "!has(self.deadLetter) || !has(self.action) || self.action == 'DeadLetter'",
            "remove deadLetter, or set action: DeadLetter",
        ),
        rule(
            "!has(self.park) || !has(self.action) && !has(self.deadLetter) || has(self.action) && self.action == 'Park'",
            "remove park, or set action: Park",
        ),
    ])
}

/// Where the road of a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndAction {
    /// Written to a topic, with its origin in headers.
    DeadLetter,
    /// Kept aside, visible, until a person releases or skips it.
    Park,
    /// Dropped, counted and logged.
    Skip,
    /// The object stops and keeps its checkpoint.
    Stop,
}

/// What becomes of a record that no route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum UnknownAction {
    /// The object's own handler has it.
    #[default]
    Default,
    /// Written to a topic, with its origin in headers.
    DeadLetter,
    /// Kept aside, visible, until a person releases or skips it.
    Park,
    /// Dropped, counted and logged.
    Skip,
    /// The object stops and keeps its checkpoint.
    Stop,
}

/// Where dead letters go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterSpec {
    /// A topic of the source's broker or log; not one that is read here.
    pub topic: TopicName,
    /// How the topic is made where it is missing. Absent: it must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<ProvisionSpec>,
}

/// How a record is parked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParkSpec {
    /// Whether later records of the key follow it there, in order. Otherwise they pass it.
    #[serde(default)]
    pub blocks_key: bool,
}
