//! `keyweir-bench`: one broker, one topic, one contender after the other, measured from outside.
//!
//! ```text
//!  plan.rs ──> trials ──> runner.rs ──> a contender's process (peers/*, child.rs when it is Rust)
//!                            │              counts, checks the order of each key (meter.rs)
//!                            └─ processor time and memory of its process group, of the broker, of the rest
//!  results.rs (JSON) ──> report.rs (Markdown) ──> plot.rs (SVG)
//!  routing.rs ──> our fleet on one partition, with more and more workers
//!  moves.rs ──> crews that share a topic (our fleet, peers/{group,gkes}) ──> joins, leaves, kills, freezes
//! ```

pub mod args;
pub mod bench;
pub mod child;
pub mod dataset;
pub mod machine;
pub mod meter;
pub mod moves;
pub mod peers;
pub mod plan;
pub mod plot;
pub mod report;
pub mod results;
pub mod routing;
pub mod runner;
pub mod service;
