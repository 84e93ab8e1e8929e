//! Meters are written, and removed where nothing is left to be measured.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Meter, Metered,
    build::{KIND, build},
};
use crate::{
    cluster::{
        apply::{ApplyError, apply_meter, found, remove},
        labels::{CLASS, selecting},
    },
    context::Context,
    registry::Name,
    telemetry::chain,
};

/// How often it is looked whether something is to be done.
const TICK: Duration = Duration::from_secs(1);

/// Writes and removes until `stop`.
pub async fn go(ctx: Arc<Context>, stop: CancellationToken) {
    let mut swept = false;
    loop {
        // Biased: a stop is obeyed before another write.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(TICK) => {}
        }
        if ctx.first_pass.is_over() {
            swept = swept || sweep(&ctx).await;
        }
        write(&ctx, Instant::now()).await;
    }
}

/// Writes what is due, once it is known who is to be measured.
pub async fn write(ctx: &Context, now: Instant) {
    if !ctx.first_pass.is_over() {
        return;
    }
    for (meter, objects) in ctx.meters.due(now) {
        if let Err(error) = write_one(ctx, &meter, &objects).await {
            warn!(?meter, cause = chain(&error), "a meter was not written");
            ctx.meters.failed(&meter);
        }
    }
}

async fn write_one(ctx: &Context, meter: &Meter, objects: &[(Name, Metered)]) -> Result<(), ApplyError> {
    if objects.is_empty() {
        info!(?meter, "nothing is left to be measured");
        return remove(&ctx.client, &meter.namespace, &meter.name).await;
    }
    apply_meter(&ctx.client, build(meter, objects, &ctx.settings)).await
}

/// Removes the meters of an earlier operator that measure nothing any more. Says whether that was done.
pub async fn sweep(ctx: &Context) -> bool {
    let kept = ctx.meters.all();
    let ours = format!("{},{CLASS}={}", selecting(KIND), ctx.settings.class);
    for api in ctx.settings.scope.apis(&ctx.client) {
        let meters = match found(&api, &ours).await {
            Ok(meters) => meters,
            Err(error) => {
                warn!(cause = chain(&error), "the meters can't be listed");
                return false;
            }
        };
        for (namespace, name) in meters {
            let meter = Meter { namespace, name };
            if !kept.contains(&meter)
                && let Err(error) = remove(&ctx.client, &meter.namespace, &meter.name).await
            {
                warn!(?meter, cause = chain(&error), "a meter was not removed");
                return false;
            }
        }
    }
    true
}
