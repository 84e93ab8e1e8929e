//! Does what was decided: writes replicas through the scale subresource, as a field manager of its own, and tells of
//! it. The reconciler never writes replicas.

use k8s_openapi::jiff::Timestamp;
use keyweir_crds::StreamConsumer;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tracing::warn;

use crate::{
    cluster::events::Happening,
    context::Context,
    registry::{Decided, Name, Subject},
};

/// The name under which replicas are written.
const FIELD_MANAGER: &str = "keyweir-scaler";

/// Does what was decided about an object. Says whether there is anything new to be shown.
pub async fn act(ctx: &Context, subject: &Subject, decided: Decided) -> bool {
    let Decided { decision, current, new } = decided;
    let (wanted, reason) = (decision.replicas, decision.reason);
    if wanted == current {
        return new;
    }
    let note = format!("{current} replicas become {wanted}: {reason}");
    // Events of one action are told as one that repeats: up and down must not be.
    let action = if wanted > current { "ScaleUp" } else { "ScaleDown" };
    if subject.scaling.as_ref().is_some_and(|plan| plan.dry_run) {
        if new {
            tell(ctx, subject, ("ScaleBlocked", action), false, format!("dry run; {note}")).await;
        }
        return new;
    }
    match scale(&ctx.client, &subject.name, wanted).await {
        Ok(()) => {
            ctx.registry.scaled(subject, wanted, Timestamp::now());
            tell(ctx, subject, ("Scaled", action), false, note).await;
            true
        }
        Err(error) => {
            warn!(object = ?subject.name, wanted, %error, "replicas were not written");
            if new {
                tell(
                    ctx,
                    subject,
                    ("ScaleBlocked", action),
                    true,
                    format!("{note}, but the API server refuses"),
                )
                .await;
            }
            new
        }
    }
}

async fn scale(client: &Client, name: &Name, replicas: i32) -> Result<(), kube::Error> {
    let api = Api::<StreamConsumer>::namespaced(client.clone(), &name.namespace);
    let manager = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale(&name.name, &manager, &patch).await.map(|_| ())
}

async fn tell(
    ctx: &Context,
    subject: &Subject,
    (reason, action): (&'static str, &'static str),
    warning: bool,
    note: String,
) {
    ctx.events.publish(&subject.reference(), &[Happening { reason, action, warning, note }]).await;
}
