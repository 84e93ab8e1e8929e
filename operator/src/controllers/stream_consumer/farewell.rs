//! `deletionPolicy: Purge`: an object that was deleted stays until what it has written is gone, or until its time is up.
//!
//! ```text
//!   deleted ─▶ its workers end ─▶ a Job purges with the object's own logins ─▶ the finalizer goes, and the object
//! ```
//! Whatever can't be done (no broker, no etcd, a namespace that ends too) is waited for until the deadline only, and told.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    jiff::{SignedDuration, Timestamp},
};
use keyweir_crds::{StreamConsumer, stream_consumer::DeletionPolicy};
use kube::{Resource, ResourceExt, runtime::controller::Action};

use super::{
    dereference::Found,
    model::ValidStreamConsumer,
    validate::{Refusal, validate},
};
use crate::{
    cluster::{
        apply::{ApplyError, apply_purge, end_purge, keep_finalizers, stand_down},
        events::Happening,
        objects::PurgeObjects,
    },
    context::Context,
    workload::{config_map::config_map, purge::job},
};

/// What keeps a deleted object until it is purged.
pub const FINALIZER: &str = "keyweir.io/purge";
/// How long that may take, beyond the time that its workers have to end.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often it is looked whether the next step can be done.
const LOOK: Duration = Duration::from_secs(2);

/// Lets the object have the finalizer exactly where its policy asks for it.
pub async fn hold(ctx: &Context, found: &Found) -> Result<(), ApplyError> {
    let Ok(consumer) = &found.consumer else { return Ok(()) };
    let wanted = consumer.spec.deletion_policy == DeletionPolicy::Purge;
    if wanted == is_held(consumer) {
        return Ok(());
    }
    let mut finalizers = consumer.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    finalizers.extend(wanted.then(|| FINALIZER.to_owned()));
    keep_finalizers(&ctx.client, consumer.as_ref(), finalizers).await
}

/// Whether the object stays until it is purged.
pub fn is_held(consumer: &StreamConsumer) -> bool {
    consumer.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// The next step on the way of an object that was deleted.
pub async fn step(ctx: &Context, found: &Found) -> Result<Action, ApplyError> {
    let Ok(consumer) = &found.consumer else { return Ok(Action::await_change()) };
    stand_down(&ctx.client, &found.owner, true).await?;
    let valid = match validate(found, &ctx.settings) {
        Ok(valid) => valid,
        Err(refusal) => return release(ctx, found, consumer, Some(refused(&refusal))).await,
    };
    if found.now > deadline(consumer, &valid) {
        let happening =
            happening("PurgeTimedOut", true, "checkpoints and parked records may be left".to_owned());
        return release(ctx, found, consumer, Some(happening)).await;
    }
    if found.pods.iter().any(|pod: &Pod| !is_purging(pod)) {
        return Ok(Action::requeue(LOOK));
    }
    match apply_purge(&ctx.client, &found.owner, objects(&valid)).await {
        Ok(true) => {
            let done = happening("Purged", false, "checkpoints and parked records are gone".to_owned());
            release(ctx, found, consumer, Some(done)).await
        }
        Ok(false) => Ok(Action::requeue(LOOK)),
        // Nothing can be made in a namespace that ends.
        Err(error) if is_ending(&error) => release(ctx, found, consumer, None).await,
        Err(error) => Err(error),
    }
}

async fn release(
    ctx: &Context,
    found: &Found,
    consumer: &StreamConsumer,
    happening: Option<Happening>,
) -> Result<Action, ApplyError> {
    end_purge(&ctx.client, &found.owner).await?;
    if let Some(happening) = happening {
        let regarding: ObjectReference = consumer.object_ref(&());
        ctx.events.publish(&regarding, &[happening]).await;
    }
    let others = consumer.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER);
    keep_finalizers(&ctx.client, consumer, others.cloned().collect()).await?;
    Ok(Action::await_change())
}

fn objects(valid: &ValidStreamConsumer) -> PurgeObjects {
    let text = serde_json::to_string_pretty(&valid.config).unwrap_or_default();
    let mut config_map = config_map(&valid.owner, text);
    // What the Job needs must not go before it: the object's own things may.
    config_map.metadata.name = Some(format!("{}-purge", valid.owner.child));
    config_map.metadata.owner_references = None;
    PurgeObjects { config_map, job: job(&valid.owner, &valid.pod) }
}

fn deadline(consumer: &StreamConsumer, valid: &ValidStreamConsumer) -> Timestamp {
    let deleted = consumer.metadata.deletion_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let time = SignedDuration::try_from(DEADLINE + valid.config.live.drain_timeout).unwrap_or_default();
    deleted.saturating_add(time).unwrap_or(Timestamp::MAX)
}

/// Whether the pod is one of the Job's own.
fn is_purging(pod: &Pod) -> bool {
    pod.labels().contains_key("batch.kubernetes.io/job-name")
}

fn is_ending(error: &ApplyError) -> bool {
    matches!(error.source_error(), kube::Error::Api(status) if status.is_forbidden() || status.is_not_found())
}

fn refused(refusal: &Refusal) -> Happening {
    happening(
        "PurgeSkipped",
        true,
        format!("nothing is purged of an object that was not accepted: {}", refusal.message),
    )
}

fn happening(reason: &'static str, warning: bool, note: String) -> Happening {
    Happening { reason, action: "Purge", warning, note }
}
