//! The manifest, held without a cluster: what its definition says, what its rules refuse, what its samples show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what did not hold")]

mod definition;
mod rules;
mod samples;
mod trial;
