//! Routing by key: the owner of a shard dispatches, and the handler of another member may execute.
//!
//! ```text
//!  pump ─▶ Routed ──slot──▶ own member? ─ yes ─▶ Hosting::run_here ─────────────┐
//!    ▲        │                 no                                              ▼
//!    │        └─▶ Courier (one a target) ══ wire ══▶ Hosting::serve ─▶ Seats ─▶ Handler
//!    └── outcome ◀─────────────┘  Run, Cancel, Granted ▶   ◀ Ask, Ended
//! ```
//! * **Order** needs nothing here: of a key one record is outstanding, so any member may execute the next one. What must
//!   hold is that a record that was sent somewhere has ended there before it, or the next of its key, runs elsewhere.
//! * **A record that was sent** ends in one of three ways: the target says so; the target greets the owner anew, which it
//!   does only when nothing of the owner executes there any more; or the target's member key is gone. Until then its key
//!   waits. A record that lost its target runs once more elsewhere; the second loss costs an attempt, so that a record
//!   that kills its targets goes down its road.
//! * **A grant** lets a target execute at all. It asks the owner for it and counts it from the moment of asking; it never
//!   outlasts the owner's lease. At its end, and at the end of its own lease, the target cancels what it executes and
//!   hangs up. A fence that is older than the newest that it has seen of the shard is refused.
//! * **A full target** says busy at once: its seats and as many places to wait are taken. The record stays first in the
//!   courier's line, and fewer are sent. A target that can't be reached, or takes nothing new because it leaves, is
//!   passed over: the record was not begun, so it runs where it was read.
//! * **Time-outs** are the target's to enforce, since a time-out that nobody has confirmed must not free a key.
//! * **The wire** is one stream for each pair of owner and target. Both sides prove that they know the object's secret,
//!   and each packet is sealed with a key that both derive for this stream ([`seal`]). Strangers are refused and counted.
//!   Members tell in their member key which versions of the wire they speak and which handlers they have: those that
//!   differ are not routed to.
//!
//! It is no part of the engine, which has no lock: calls of all shards and streams of all members meet here, and share
//! seats and the newest fences for the length of a look-up. What it may not do: open sockets or spawn (the worker
//! does), or decide about retries.

mod courier;
mod couriers;
mod exchange;
mod frame;
mod greeting;
mod hosting;
mod pace;
mod routed;
mod seal;
mod seats;
mod stats;
mod stay;
mod table;
mod visits;
mod words;

use std::io;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub use couriers::Couriers;
pub use greeting::WireError;
pub use hosting::{ExecutionLog, Hosting, HostingSettings, Unavailable};
pub use routed::{Routed, Router};
pub use seal::{Secret, SecretError};
pub use stats::{RoutingCounters, RoutingStats};

/// The versions of the wire that this program speaks: the oldest and the newest.
pub const VERSIONS: (u16, u16) = (1, 1);

/// What a wire runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens streams to other members.
pub trait Dial: Send + Sync + 'static {
    /// A stream to that address (`host:port`).
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// Gives the secret as it is now: it may be rotated while the worker runs.
pub trait Secrets: Send + Sync + 'static {
    /// The secret that the members share.
    fn secret(&self) -> BoxFuture<'_, Result<Secret, SecretError>>;
}
