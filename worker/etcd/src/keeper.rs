//! The keeper: renews one lease from a thread of its own, so that busy handlers can't starve it. Up: the
//! [crate](crate).
//!
//! The thread has its own one-thread runtime and its own connection. It ends when nobody wants the lease any more,
//! when the store says that the lease is gone, or with the process.

use std::time::Duration;

use etcd_client::{Client, Error, LeaseTimeToLiveResponse};
use keyweir_core::lease::RENEWALS_PER_TTL;
use keyweir_engine::ports::{Grant, LeaseId, Pulse, Renewals, RenewalsTx, StoreError};
use tokio::time::{Instant, sleep};

use crate::client::Connection;

/// Renews a lease until the answer is dropped. When no thread can be had, nothing renews, and the clock tells.
pub(crate) fn keep(connection: Connection, grant: Grant, pulse: Pulse) -> Renewals {
    let (tx, renewals) = Renewals::new(grant.clock);
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                let stop = tx.stop_token();
                runtime.block_on(stop.run_until_cancelled(renew(connection, grant, pulse, tx)));
            }
            Err(error) => tracing::error!(%error, "no runtime for the keeper of the lease"),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("keyweir-keeper".into()).spawn(work) {
        tracing::error!(%error, "no thread for the keeper of the lease");
    }
    renewals
}

/// What one renewal brought.
enum Renewed {
    Yes,
    Gone,
    Unknown(StoreError),
}

async fn renew(connection: Connection, grant: Grant, pulse: Pulse, tx: RenewalsTx) {
    let interval = grant.ttl / RENEWALS_PER_TTL;
    let mut due = Instant::from_std(grant.clock.lost_at()) - grant.ttl + interval;
    let mut silent = false;
    loop {
        tokio::time::sleep_until(due).await;
        let age = pulse.age();
        if age > grant.ttl {
            if !silent {
                tracing::error!(?age, "the pump stands still: its lease is not renewed");
                silent = true;
            }
            sleep(retry_after(grant.ttl)).await;
            continue;
        }
        silent = false;
        let sent = Instant::now();
        match once(&connection, grant.lease).await {
            Renewed::Yes => {
                tx.renewed(sent, grant.ttl);
                due = sent + interval;
            }
            Renewed::Gone => {
                tracing::warn!("the store has ended the lease");
                tx.gone();
                return;
            }
            Renewed::Unknown(error) => {
                tracing::warn!(reason = error.reason(), "the lease was not renewed: trying again");
                due = Instant::now() + retry_after(grant.ttl);
            }
        }
    }
}

/// Many tries fit between the first failure and the end.
fn retry_after(ttl: Duration) -> Duration {
    ttl / 20
}

async fn once(connection: &Connection, lease: LeaseId) -> Renewed {
    // Each renewal is a stream of its own: nothing is left of one that a server has forgotten.
    let renew = async |client: Client| match client.lease_client().keep_alive(lease.0).await {
        Ok(_) => Ok(true),
        Err(Error::LeaseKeepAliveError(_)) => Ok(false),
        Err(error) => Err(error),
    };
    match connection.call("renew a lease", 0, renew).await {
        Ok(true) => Renewed::Yes,
        Err(error) => Renewed::Unknown(error),
        // The library tells a lease that is gone and a stream that broke by one error: look before believing it.
        Ok(false) => {
            let look = async |client: Client| client.lease_client().time_to_live(lease.0, None).await;
            let left: Result<LeaseTimeToLiveResponse, _> = connection.call("look at a lease", 0, look).await;
            match left {
                Ok(left) if left.ttl() <= 0 => Renewed::Gone,
                Ok(_) => Renewed::Unknown(StoreError::Unreachable {
                    act: "renew a lease",
                    source: crate::error::Incomplete { part: "time to live" }.into(),
                }),
                Err(StoreError::LeaseGone) => Renewed::Gone,
                Err(error) => Renewed::Unknown(error),
            }
        }
    }
}
