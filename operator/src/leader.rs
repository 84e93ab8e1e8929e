//! One leader among the operator's replicas, by a Lease. Only the leader reconciles; the others stand by.
//!
//! A holder counts as gone when its lease has not been *seen to change* for the lease's duration, by this
//! replica's own clock: clocks of other machines are never compared.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a silent leader keeps its place.
    pub duration: Duration,
    /// How long the leader itself believes in its place without a renewal. Shorter than `duration` by as much as
    /// what it still does may take.
    pub deadline: Duration,
    /// How often the lease is renewed, or looked at.
    pub period: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            period: Duration::from_secs(2),
        }
    }
}

/// Why leadership ended.
#[derive(Debug, Error)]
pub enum LeaderError {
    /// The lease was not renewed in time; another replica may lead by now.
    #[error("failed to renew the lease {name} in time")]
    Lost {
        /// The lease.
        name: String,
    },
}

/// This replica's part in the election.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    pace: Pace,
}

/// A lease as it was last seen, and since when it has looked like that.
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// What became of a renewal.
enum Renewal {
    /// The lease runs anew.
    Done,
    /// The lease changed between reading and writing.
    Late,
    /// Another replica holds it.
    Taken,
}

impl Election {
    /// The election by the lease `name`, in which this replica is called `identity`.
    pub fn new(client: Client, namespace: &str, name: String, identity: String) -> Self {
        Self { leases: Api::namespaced(client, namespace), name, identity, pace: Pace::default() }
    }

    /// The same election at another pace, which all replicas must share.
    pub fn at(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Waits until this replica leads. `false`: it was stopped before.
    pub async fn won(&self, stop: &CancellationToken) -> bool {
        let mut seen = Seen { version: None, since: Instant::now() };
        loop {
            match self.attempt(&mut seen).await {
                Ok(true) => {
                    info!(lease = self.name, identity = self.identity, "this replica leads");
                    return true;
                }
                Ok(false) => debug!(lease = self.name, "another replica leads"),
                Err(error) => warn!(lease = self.name, %error, "the lease can't be read or taken"),
            }
            // Biased: a replica that is asked to stop must not take the lead in the same moment.
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = sleep(self.pace.period) => {}
            }
        }
    }

    /// Keeps the lead until it is lost (an error) or given up because of `stop`.
    pub async fn keep(&self, stop: &CancellationToken) -> Result<(), LeaderError> {
        let mut renewed = Instant::now();
        loop {
            // Biased: a stop is obeyed before another renewal.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(self.pace.period) => {}
            }
            let asked = Instant::now();
            match timeout(self.pace.period * 2, self.renew()).await {
                Ok(Ok(Renewal::Done)) => renewed = asked,
                Ok(Ok(Renewal::Late)) => debug!(lease = self.name, "somebody else wrote to the lease"),
                Ok(Ok(Renewal::Taken)) => return Err(self.lost()),
                Ok(Err(error)) => warn!(lease = self.name, %error, "the lease was not renewed"),
                Err(_) => warn!(lease = self.name, "the renewal of the lease was not answered"),
            }
            if renewed.elapsed() >= self.pace.deadline {
                return Err(self.lost());
            }
        }
        self.give_up().await;
        Ok(())
    }

    async fn attempt(&self, seen: &mut Seen) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            return accepted(self.leases.create(&PostParams::default(), &self.claim(None)).await);
        };
        if seen.version != lease.metadata.resource_version {
            *seen = Seen { version: lease.metadata.resource_version.clone(), since: Instant::now() };
        }
        let held = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let free = held.is_empty() || held == self.identity || seen.since.elapsed() >= self.pace.duration;
        if !free {
            return Ok(false);
        }
        self.replace(&self.claim(Some(&lease))).await
    }

    async fn renew(&self) -> Result<Renewal, kube::Error> {
        let lease = self.leases.get(&self.name).await?;
        let held = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if held != Some(self.identity.as_str()) {
            return Ok(Renewal::Taken);
        }
        let written = self.replace(&self.claim(Some(&lease))).await?;
        Ok(if written { Renewal::Done } else { Renewal::Late })
    }

    fn lost(&self) -> LeaderError {
        LeaderError::Lost { name: self.name.clone() }
    }

    /// Lets another replica lead at once. If that can't be written, it leads when the lease has run out.
    async fn give_up(&self) {
        let released = async {
            let mut lease = self.leases.get(&self.name).await?;
            if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.is_some()) {
                spec.holder_identity = Some(String::new());
                self.replace(&lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(self.pace.period, released).await {
            Ok(Ok(())) => info!(lease = self.name, "the lead is given up"),
            Ok(Err(error)) => warn!(lease = self.name, %error, "the lease was not released"),
            Err(_) => warn!(lease = self.name, "the release of the lease was not answered"),
        }
    }

    /// The lease as held by this replica: a new one, or the next state of one that exists.
    fn claim(&self, existing: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = existing.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = before.lease_transitions.unwrap_or(0);
        let metadata = existing.map_or_else(
            || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            |lease| lease.metadata.clone(),
        );
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.pace.duration.as_secs().max(1)).ok(),
                acquire_time: if ours { before.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(if ours { transitions } else { transitions + 1 }),
                ..before
            }),
        }
    }

    async fn replace(&self, lease: &Lease) -> Result<bool, kube::Error> {
        accepted(self.leases.replace(&self.name, &PostParams::default(), lease).await)
    }
}

/// Somebody else's write in between is no error: it only means that this replica was late.
fn accepted(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}
