//! Visits: the streams of owners that this member executes for. Up: the [crate](crate).
//!
//! An owner has one visit at a time. A second one is welcome only when the first has ended and nothing of it executes
//! any more: so a welcome tells an owner that what it sent before has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyweir_core::MemberId;
use tokio_util::sync::CancellationToken;

/// All visits, by owner.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    /// Held for a look-up, never across an await.
    by_owner: Mutex<HashMap<MemberId, Arc<Tokens>>>,
}

#[derive(Debug, Default)]
struct Tokens {
    /// Cancelled = another visit has come in its place.
    over: CancellationToken,
    /// Cancelled = nothing of it executes any more.
    ended: CancellationToken,
}

/// One visit. Dropping it says that nothing of it executes any more.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    visits: &'a Visits,
    owner: MemberId,
    tokens: Arc<Tokens>,
}

impl Visits {
    /// Begins a visit once the owner's earlier ones have ended.
    pub(crate) async fn begin(&self, owner: MemberId) -> Visit<'_> {
        let tokens = Arc::new(Tokens::default());
        let earlier = self.lock().insert(owner.clone(), Arc::clone(&tokens));
        let visit = Visit { visits: self, owner, tokens };
        if let Some(earlier) = earlier {
            earlier.over.cancel();
            earlier.ended.cancelled().await;
        }
        visit
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MemberId, Arc<Tokens>>> {
        self.by_owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit<'_> {
    /// Until another visit of the owner takes its place.
    pub(crate) fn over(&self) -> CancellationToken {
        self.tokens.over.clone()
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.tokens.ended.cancel();
        let mut visits = self.visits.lock();
        if visits.get(&self.owner).is_some_and(|known| Arc::ptr_eq(known, &self.tokens)) {
            visits.remove(&self.owner);
        }
    }
}
