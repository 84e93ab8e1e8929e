//! From the outcome of a reconcile to the status that is published, and to what comes next.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keyweir_crds::{
    StreamConsumer,
    status::{LagStatus, ShardsStatus, StreamConsumerStatus},
};
use kube::{Resource, runtime::controller::Action};

use super::{
    conditions::{self, condition},
    dereference::{Found, Turn},
    happenings::between,
    model::ValidStreamConsumer,
    validate::Refusal,
};
use crate::{
    cluster::{
        apply::ApplyError,
        conditions::find,
        objects::{Applied, Workload},
        status::{StatusError, publish as write},
    },
    context::Context,
    page::board::Row,
    registry::{
        Name,
        gather::{quantised, rounded},
    },
};

/// An object that is not yet as it should be is looked at again so soon: pods that fail change nothing else.
const UNSETTLED: Duration = Duration::from_secs(5);
/// Any other is looked at again so seldom, in case a watch missed something.
const SETTLED: Duration = Duration::from_secs(600);
/// The time of a measurement that shows the same number is renewed so seldom.
const RENEWED: Duration = Duration::from_secs(300);

/// The status as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    status: StreamConsumerStatus,
    /// Whether it waits for its turn, which nobody will tell it.
    waits: bool,
}

impl Report {
    /// The report on an object that was built and applied.
    pub fn applied(found: &Found, valid: &ValidStreamConsumer, applied: &Applied) -> Self {
        let before = previous(found);
        let progress = applied.workload.as_ref().map(Workload::progress);
        let conditions = conditions::applied(&before.conditions, found, valid, progress);
        // Until the predecessor is gone, the next reconcile must look for it again.
        let observed_generation = progress.map_or(before.observed_generation, |_| found.generation);
        let progress = progress.unwrap_or_default();
        let numbers = Numbers::of(found, &before, progress.desired);
        Self {
            waits: valid.kept.as_ref().is_some_and(|kept| kept.turn == Turn::Later),
            status: StreamConsumerStatus {
                observed_generation,
                replicas: progress.current,
                ready_replicas: Some(progress.ready),
                updated_replicas: Some(progress.updated),
                selector: Some(valid.owner.labels.selector_text()),
                worker_version: Some(valid.version().to_owned()),
                source: Some(valid.nouns.source.to_owned()),
                handler: Some(valid.nouns.handler.to_owned()),
                members: numbers.members,
                shards: numbers.shards,
                lag: numbers.lag,
                in_flight: numbers.in_flight,
                parked: numbers.parked,
                scaling: valid
                    .scaling
                    .as_ref()
                    .and_then(|_| found.known.scaling.clone().or_else(|| before.scaling.clone())),
                last_error: found.known.last_error.clone().or(before.last_error.clone()),
                conditions,
            },
        }
    }

    /// The report on an object that can't be built. What runs goes on as it is.
    pub fn refused(found: &Found, refusal: &Refusal) -> Self {
        let before = previous(found);
        let conditions = conditions::refused(&before.conditions, found, refusal);
        let before = if refusal.ends {
            StreamConsumerStatus { replicas: 0, ready_replicas: None, ..before }
        } else {
            before
        };
        let status = StreamConsumerStatus { observed_generation: found.generation, conditions, ..before };
        Self { status, waits: refusal.ends }
    }

    /// The report on an object whose pods the API server refuses; any other error is given back.
    pub fn rejected(found: &Found, error: ApplyError) -> Result<Self, ApplyError> {
        match error.source_error() {
            kube::Error::Api(status) if status.is_invalid() => {
                Ok(Self::refused(found, &Refusal::of_pods("PodOverridesRejected", status.message.clone())))
            }
            _ => Err(error),
        }
    }

    fn settled(&self) -> bool {
        let conditions = &self.status.conditions;
        let truth = |type_| find(conditions, type_).is_some_and(|condition| condition.status == "True");
        !self.waits
            && (truth(condition::READY)
                || find(conditions, condition::ACCEPTED).is_some_and(|found| found.status == "False"))
    }
}

/// What the workers count, as it is shown. Absent = unknown.
#[derive(Default)]
struct Numbers {
    members: Option<i32>,
    shards: Option<ShardsStatus>,
    lag: Option<LagStatus>,
    in_flight: Option<i64>,
    parked: Option<i64>,
}

impl Numbers {
    /// Before anybody was asked, what is shown stays as it is: an operator that has just started knows no better.
    fn of(found: &Found, before: &StreamConsumerStatus, desired: i32) -> Self {
        let Some(picture) = &found.known.picture else {
            let parked = before.parked;
            return if desired > 0 { Self::shown(before) } else { Self { parked, ..Self::default() } };
        };
        Self {
            members: picture.members,
            shards: picture.shards,
            lag: picture.lag.map(|records| lag(records, picture.seconds, found, before)),
            in_flight: picture.in_flight.map(rounded),
            // Without workers nobody parks or releases: what was there is there.
            parked: picture.parked.or(before.parked.filter(|_| desired == 0)),
        }
    }

    fn shown(before: &StreamConsumerStatus) -> Self {
        let StreamConsumerStatus { members, shards, lag, in_flight, parked, .. } = before.clone();
        Self { members, shards, lag, in_flight, parked }
    }
}

/// The time of a measurement is renewed with the number, and now and then: alone it is no reason to write.
fn lag(records: i64, seconds: Option<i64>, found: &Found, before: &StreamConsumerStatus) -> LagStatus {
    let (records, seconds) = (rounded(records), seconds.map(quantised));
    let now = found.known.at.unwrap_or(found.now);
    let young = |shown: &&LagStatus| {
        (shown.records, shown.seconds) == (records, seconds)
            && now.duration_since(shown.observed_time.0).as_secs() < RENEWED.as_secs() as i64
    };
    let shown = before.lag.as_ref().filter(young);
    shown.cloned().unwrap_or(LagStatus { records, seconds, observed_time: Time(now) })
}

/// Writes the status if it says anything new, tells what happened, and says when to look again.
pub async fn publish(ctx: &Context, found: &Found, report: Report) -> Result<Action, StatusError> {
    let before = previous(found);
    let next = Action::requeue(if report.settled() { SETTLED } else { UNSETTLED });
    if let Ok(consumer) = &found.consumer {
        let namespace = found.owner.namespace.clone();
        ctx.board.put(Name { namespace, name: found.name.clone() }, Row::of(consumer, &report.status));
    }
    if found.consumer.is_err() || before != report.status {
        write::<StreamConsumer>(&ctx.client, &found.owner, &found.name, &report.status).await?;
        if let Ok(consumer) = &found.consumer {
            ctx.events.publish(&consumer.object_ref(&()), &between(&before, &report.status)).await;
        }
    }
    Ok(next)
}

/// Whether there were workers when the last status was written.
pub fn runs(found: &Found) -> bool {
    previous(found).replicas > 0
}

/// The status that the object has.
fn previous(found: &Found) -> StreamConsumerStatus {
    found.consumer.as_ref().ok().and_then(|consumer| consumer.status.clone()).unwrap_or_default()
}
