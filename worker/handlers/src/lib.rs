//! Handlers in any language behind one door: web services, child processes, built-in ones, compiled-in ones.
//!
//! ```text
//!               ┌ builtin   echo, drop, delay, map, fail
//!  AnyHandler ──┼ http      CloudEvents there, JSON lines back (one record, or a batch)
//!               ├ exec      JSON lines there and back, over pipes
//!               └ native    a Rust handler of the user's own, by name
//! ```
//!
//! What they say back is one vocabulary, read in one place (`answer`); why an attempt failed is one of the words in
//! [`reason`]. What this crate may not do: decide about retries, or know a broker or a store. It implements
//! [`keyweir_engine::ports::Handler`], and nothing here outlives it.

mod answer;
mod any;
mod builtin;
pub mod codec;
mod exec;
mod http;
mod id;
mod lines;
pub mod native;
pub mod reason;
pub mod testing;
mod time;

pub use any::{AnyHandler, BuildError, HandlerContext};
pub use builtin::{BuiltinError, ExpressionError};
pub use http::{HttpError, UrlError};
pub use native::Registry;
