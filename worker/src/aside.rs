//! How many records are kept aside: asked of their store now and then, and soon after one was parked here.

use std::sync::Arc;
use std::time::Duration;

use keyweir_engine::error_chain;
use keyweir_engine::ports::ParkedStore;
use keyweir_engine::pump::PumpHandle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether one was parked here,
const SOON: Duration = Duration::from_secs(2);
/// and how often the store is asked all the same: other members park and release, too.
const LATER: Duration = Duration::from_secs(30);

/// What is known of an object's parked records (`None` = unknown, never zero), and what follows them, where there is a
/// store.
pub(crate) fn begin(
    store: Option<Arc<dyn ParkedStore>>,
    pump: &PumpHandle,
    cancel: &CancellationToken,
) -> (watch::Receiver<Option<u64>>, Option<impl Future<Output = ()> + use<>>) {
    let (kept_to, kept) = watch::channel(None);
    (kept, store.map(|store| follow(store, pump.clone(), kept_to, cancel.clone())))
}

/// Asks until cancelled.
async fn follow(
    store: Arc<dyn ParkedStore>,
    pump: PumpHandle,
    kept: watch::Sender<Option<u64>>,
    cancel: CancellationToken,
) {
    let mut asked: Option<(Instant, u64)> = None;
    loop {
        let parked = pump.snapshot().counters.parked;
        if asked.is_none_or(|(at, before)| before != parked || at.elapsed() >= LATER) {
            let found = tokio::select! {
                biased;
                // The end first: a store that does not answer must not hold it up.
                () = cancel.cancelled() => return,
                found = store.count() => found,
            };
            let found = found.inspect_err(|error| {
                tracing::debug!(error = error_chain(error), "how many records are parked is not known");
            });
            // What could not be asked is asked again soon.
            asked = found.is_ok().then(|| (Instant::now(), parked));
            kept.send_replace(found.ok());
        }
        tokio::select! {
            biased;
            // The end first: nobody asks any more.
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(SOON) => {}
        }
    }
}
