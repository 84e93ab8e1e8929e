//! `Handler`: user code behind any transport.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keyweir_core::{Attempt, Fence, ShardId};

use crate::outcome::{Failure, Outcome};
use crate::record::Record;

/// One record on its way to a handler.
#[derive(Clone, Debug)]
pub struct Request {
    /// The record, decoded as the manifest says.
    pub record: Record,
    /// Where it comes from: topic and partition.
    pub shard: Arc<ShardId>,
    /// Which attempt this is; the first is 1.
    pub attempt: Attempt,
    /// The owner's fence, for handlers that pass it on to a store of their own.
    pub fence: Fence,
    /// How long the handler has; `None` = no time-out. The engine enforces it: transports only tell.
    pub time_left: Option<Duration>,
    /// The hash of its ordering key, where keys are routed; `None` = it has none, or they are not.
    pub key_hash: Option<u64>,
}

/// How many records of different keys one call may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// At most so many records; 1 = one by one.
    pub max_records: usize,
    /// How long the first record of a batch waits for others.
    pub linger: Duration,
}

impl BatchLimits {
    /// One by one.
    pub const ONE: Self = Self { max_records: 1, linger: Duration::ZERO };
}

/// User code behind any transport.
///
/// What implementers owe:
/// - **Cancellation is dropping.** The engine drops the future at the time-out, when the shard is taken away and
///   at the end of the drain time. A transport then tells the other side as well as it can (closes the
///   connection, signals the child).
/// - **Never block the thread.** The pump polls these futures itself; blocking work goes to a thread of its own.
/// - A panic is one failed attempt of that record.
/// - An answer is given once for each record. [`Handler::handle_batch`] answers in the order of its requests and
///   as many; what is missing counts as a retry. A batch that fails as a whole is an `Err`: it charges nobody, its
///   records run again one by one. One that can't have begun answers `Unavailable` for each record.
/// - `Unavailable` is for a handler that can't have begun (refused connection, full, child can't start). After
///   it the engine sends single records as probes, with back-off.
/// - Equal keys are never in two calls at once, nor twice in one batch: that is the engine's promise.
pub trait Handler: Send + Sync + 'static {
    /// Handles one record.
    fn handle(&self, request: Request) -> impl Future<Output = Outcome> + Send;

    /// Handles records of different keys in one call. Only called when [`Handler::batch`] allows more than one.
    fn handle_batch(
        &self,
        requests: Vec<Request>,
    ) -> impl Future<Output = Result<Vec<Outcome>, Failure>> + Send {
        async move {
            let mut outcomes = Vec::with_capacity(requests.len());
            for request in requests {
                outcomes.push(self.handle(request).await);
            }
            Ok(outcomes)
        }
    }

    /// How many records one call may carry. Asked once for each call: it may change while the worker runs.
    fn batch(&self) -> BatchLimits {
        BatchLimits::ONE
    }

    /// How many members' handlers stand behind it; `None` = only this one's. Where there are others, it takes as many
    /// records as all of them together, and sees to time-outs itself: only it knows whether a record has ended.
    fn spread(&self) -> Option<usize> {
        None
    }

    /// Called once, after the last record, with nothing in flight; bounded by the drain time.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}
