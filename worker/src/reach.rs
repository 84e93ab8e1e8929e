//! Whether handlers can be reached while there is nothing to handle: for readiness, and for who should own shards.
//!
//! Records say more than a knock at the door: as long as attempts are made nobody asks, and what the pump says of a
//! handler counts.

use std::sync::Arc;
use std::time::Duration;

use keyweir_engine::Failure;
use keyweir_engine::pump::{PumpHandle, Snapshot, Trouble};
use keyweir_handlers::AnyHandler;
use keyweir_routing::Unavailable;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long an answer may take. A handler that is so busy that nobody can ask is there.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a handler that could not be reached is asked, and one that could.
const AGAIN: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(10);

/// A handler that can't be reached: its route, as troubles count them, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreached {
    route: usize,
    failure: Failure,
}

/// All handlers of an object that can't be reached.
pub(crate) type Reach = watch::Receiver<Vec<Unreached>>;

impl Unreached {
    /// As a trouble is told; `None` = the pump tells it already.
    pub(crate) fn told(&self, snapshot: &Snapshot) -> Option<Trouble> {
        let about = format!("handler/{}", self.route);
        let Failure { reason, text } = &self.failure;
        let known = snapshot.troubles.iter().any(|trouble| trouble.about == about);
        (!known).then(|| Trouble { about, reason, text: text.to_string() })
    }
}

/// Asks the handlers until cancelled. `unavailable` = where handlers say no to records, where keys are routed.
pub(crate) async fn follow(
    handlers: Vec<Arc<AnyHandler>>,
    pump: PumpHandle,
    mut unavailable: Option<watch::Receiver<Unavailable>>,
    told: watch::Sender<Vec<Unreached>>,
    cancel: CancellationToken,
) {
    let mut attempts = 0;
    loop {
        let made = pump.snapshot().counters.attempts;
        if let Some(said) = &mut unavailable {
            said.mark_unchanged();
        }
        // Where keys are routed, attempts of this pump may be made elsewhere: they say nothing.
        let asks = made == attempts || unavailable.is_some();
        let asking = async { if asks { ask(&handlers).await } else { Vec::new() } };
        let unreached = tokio::select! {
            biased;
            // The end first: a handler that does not answer must not hold it up.
            () = cancel.cancelled() => return,
            unreached = asking => unreached,
        };
        attempts = made;
        let wait = if unreached.is_empty() { LATER } else { AGAIN };
        told.send_if_modified(|known| {
            let changed = *known != unreached;
            *known = unreached;
            changed
        });
        tokio::select! {
            biased;
            // The end first: nobody asks any more.
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            // Last: a handler that has just said no is asked at once, and then in its turn.
            () = said_no(&mut unavailable), if wait == LATER => {}
        }
    }
}

/// Until a record was told that its handler is unavailable. Cancel-safe.
async fn said_no(unavailable: &mut Option<watch::Receiver<Unavailable>>) {
    if let Some(said) = unavailable
        && said.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn ask(handlers: &[Arc<AnyHandler>]) -> Vec<Unreached> {
    let mut unreached = Vec::new();
    for (route, handler) in handlers.iter().enumerate() {
        if let Ok(Err(failure)) = tokio::time::timeout(ANSWER, handler.reach()).await {
            unreached.push(Unreached { route, failure });
        }
    }
    unreached
}
