//! The Kafka adapters against a real broker: what the engine's ports ask of them, and what a broker does to them.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

mod conformance;
mod discovery;
mod gaps;
mod groups;
mod outages;
mod producing;
mod ranges;
mod reading;
mod recall;
mod records;
mod volume;
