//! The kinds a user writes: their schema, rules, columns and status. No client, no I/O.
//!
//! * [`stream_consumer`] is the kind; [`source`], [`connection`], [`coordination`], [`handler`], [`execution`],
//!   [`exhausted`], [`scaling`], [`pod`] are its nouns, [`status`] is what the operator answers.
//! * Defaults live in the schema. [`schema`] applies them where there is no API server.
//! * Patterns are in the schema, and in words for people in [`words`].
//! * Rules are CEL, beside the type they guard, each with a message that says the fix ([`rules`]).
//!
//! What CEL can't see is `keyweir-render`'s to refuse.

pub mod connection;
pub mod coordination;
pub mod execution;
pub mod exhausted;
pub mod handler;
pub mod observability;
pub mod pod;
pub mod provision;
pub mod quantities;
pub mod refs;
pub mod rules;
pub mod scaling;
pub mod schema;
pub mod source;
pub mod status;
pub mod stream_consumer;
pub mod words;
pub mod yaml;

pub use stream_consumer::{StreamConsumer, StreamConsumerSpec};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of all kinds.
pub const GROUP: &str = "keyweir.io";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// All definitions, in the order they are installed.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![schema::finish(StreamConsumer::crd())]
}
