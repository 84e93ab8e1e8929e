//! The controller of StreamConsumer objects: five steps, in order.

pub mod build;
pub mod conditions;
pub mod dereference;
pub mod farewell;
pub mod happenings;
pub mod lagging;
pub mod model;
pub mod status;
pub mod validate;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use keyweir_crds::StreamConsumer;
use kube::{
    ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Config, Controller, Predicate, WatchStreamExt,
        controller::{self, Action},
        predicates, reflector,
        reflector::ObjectRef,
        watcher::{self, Config as WatcherConfig},
    },
};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    dereference::dereference,
    status::{Report, runs},
    validate::validate,
};
use super::{name_of, slim, watch, watch_made};
use crate::{
    cluster::{
        apply::{ApplyError, apply, stand_down},
        status::StatusError,
    },
    context::Context,
    disposition::{Disposition, reason},
    meters::{keep, listen},
    registry::{Name, ask::HttpWorkers, rounds},
    telemetry::chain,
};

/// The kind, as labels and metrics know it.
pub const KIND: &str = "StreamConsumer";
/// Its short name, which ends the names of what is made for it.
pub const SHORT_NAME: &str = "stc";

/// Changes that come within this time of each other are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Objects that look different and wait for their reconcile; the rounds wait when there are more.
const CHANGES: usize = 256;

/// The object's metadata, all that the watch carries.
type Watched = PartialObjectMeta<StreamConsumer>;

/// What a reconcile can fail in. A mistake of the user is none of these, nor is waiting.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// Something could not be read.
    #[error("failed to dereference")]
    Dereference(#[source] kube::Error),
    /// Something could not be written.
    #[error("failed to apply")]
    Apply(#[source] ApplyError),
    /// The status could not be written.
    #[error("failed to publish the status")]
    Status(#[source] StatusError),
}

impl ReconcileError {
    fn answer(&self) -> &kube::Error {
        match self {
            Self::Dereference(error) => error,
            Self::Apply(error) => error.source_error(),
            Self::Status(error) => error.source_error(),
        }
    }
}

/// Brings what exists in line with one object, and says in its status how far that is.
pub async fn reconcile(watched: Arc<Watched>, ctx: Arc<Context>) -> Result<Action, ReconcileError> {
    let _running = ctx.metrics.reconcile(KIND);
    ctx.queue.begin(&name_in(watched.namespace(), watched.name_any()));
    let Some(found) = dereference(&ctx, &watched).await.map_err(ReconcileError::Dereference)? else {
        return Ok(Action::await_change());
    };
    if found.going {
        return farewell::step(&ctx, &found).await.map_err(ReconcileError::Apply);
    }
    farewell::hold(&ctx, &found).await.map_err(ReconcileError::Apply)?;
    let report = match validate(&found, &ctx.settings) {
        Ok(valid) => {
            let objects = build::build(&valid);
            match apply(&ctx.client, &ctx.memory, &valid.owner, objects, valid.sweep).await {
                Ok(applied) => {
                    ctx.meters.measure(&valid.name(), valid.metered.clone());
                    ctx.registry.follow(valid.subject(), applied.desired());
                    Report::applied(&found, &valid, &applied)
                }
                Err(error) => Report::rejected(&found, error).map_err(ReconcileError::Apply)?,
            }
        }
        Err(refusal) => {
            stand_down(&ctx.client, &found.owner, refusal.ends && runs(&found))
                .await
                .map_err(ReconcileError::Apply)?;
            Report::refused(&found, &refusal)
        }
    };
    let next = status::publish(&ctx, &found, report).await.map_err(ReconcileError::Status)?;
    ctx.succeeded(&found.uid);
    Ok(next)
}

fn on_error(watched: Arc<Watched>, error: &ReconcileError, ctx: Arc<Context>) -> Action {
    let reason = reason(error.answer());
    let failures = ctx.failed(&watched.uid().unwrap_or_default());
    ctx.metrics.failed(KIND, reason);
    warn!(object = name_of(&*watched), reason, failures, cause = chain(error), "a reconcile failed");
    Disposition::of(error.answer()).action(failures)
}

/// Reconciles all objects until `stop`, then lets the reconciles that run end. Their workers are asked meanwhile.
pub async fn run(context: Arc<Context>, concurrency: u16, stop: CancellationToken) {
    let (changed, changes) = mpsc::channel(CHANGES);
    let asking = rounds::go(Arc::clone(&context), Arc::new(HttpWorkers), changed.clone(), stop.clone());
    let listening = listen::go(Arc::clone(&context), Arc::new(HttpWorkers), changed, stop.clone());
    let keeping = keep::go(Arc::clone(&context), stop.clone());
    tokio::join!(control(context, concurrency, changes, stop), asking, listening, keeping);
}

fn name_in(namespace: Option<String>, name: String) -> Name {
    Name { namespace: namespace.unwrap_or_default(), name }
}

async fn control(
    context: Arc<Context>,
    concurrency: u16,
    changes: mpsc::Receiver<Name>,
    stop: CancellationToken,
) {
    let (client, metrics) = (context.client.clone(), context.metrics.clone());
    let scope = context.settings.scope.clone();
    let changes = stream::unfold((Arc::clone(&context), changes), |(queued, mut changes)| async move {
        let name = changes.recv().await?;
        queued.queue.enter(name.clone());
        Some((ObjectRef::<Watched>::new(&name.name).within(&name.namespace), (queued, changes)))
    });
    let (forgetting, queued) = (Arc::clone(&context), Arc::clone(&context));
    let (reader, writer) = reflector::store();
    let objects = watch::<StreamConsumer>(&client, &scope, WatcherConfig::default(), &metrics)
        .inspect(move |event| {
            // One that is gone is not reconciled any more.
            if let watcher::Event::Delete(gone) = event {
                forgetting.forget(&name_in(gone.namespace(), gone.name_any()));
            }
        })
        .map(Ok::<_, watcher::Error>)
        .modify(slim);
    let triggers = reflector(writer, objects).touched_objects().predicate_filter(
        // Status alone is no reason: it was written here.
        predicates::generation.combine(predicates::annotations).combine(predicates::finalizers),
        Default::default(),
    );
    let triggers = triggers.inspect(move |object| {
        if let Ok(object) = object {
            queued.queue.enter(name_in(object.namespace(), object.name_any()));
        }
    });
    let counted = reader.clone();
    let controller = Controller::for_stream(triggers, reader)
        .owns_stream(watch_made::<Deployment>(&context))
        .owns_stream(watch_made::<StatefulSet>(&context))
        .owns_stream(watch_made::<ConfigMap>(&context))
        .owns_stream(watch_made::<Service>(&context))
        .owns_stream(watch_made::<ServiceAccount>(&context))
        .owns_stream(watch_made::<PodDisruptionBudget>(&context))
        .owns_stream(watch_made::<NetworkPolicy>(&context))
        .reconcile_on(changes)
        .with_config(Config::default().concurrency(concurrency).debounce(DEBOUNCE))
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    info!(kind = KIND, "the controller runs");
    let running = controller.run(reconcile, on_error, Arc::clone(&context)).for_each(|outcome| {
        metrics.objects(KIND, counted.len());
        let object = match &outcome {
            Ok((object, _)) => Some(name_in(object.namespace.clone(), object.name.clone())),
            Err(controller::Error::ReconcilerFailed(_, object)) => {
                Some(name_in(object.namespace.clone(), object.name.clone()))
            }
            Err(_) => None,
        };
        if let Some(name) = object {
            context.first_pass.passed(name, counted.len());
        }
        if let Err(error) = outcome {
            debug!(cause = chain(&error), "an object was not reconciled");
        }
        std::future::ready(())
    });
    // Before the first list of objects has come, as without their definition, the controller obeys no stop.
    let stopped_early = async {
        stop.cancelled().await;
        if counted.wait_until_ready().now_or_never().is_some() {
            std::future::pending::<()>().await;
        }
    };
    // Biased: an orderly end counts.
    tokio::select! {
        biased;
        () = running => {}
        () = stopped_early => {}
    }
    info!(kind = KIND, "the controller has ended");
}
