//! Listens to all meters: a held request each, so that an object that falls behind wakes at once.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use keyweir_contract::meter::Readings;
use tokio::{
    sync::mpsc,
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::Meter;
use crate::{
    context::Context,
    registry::{
        Name,
        ask::Workers,
        gather::{Picture, metered},
        rounds::take_up,
    },
};

/// How often it is looked whether there are new meters.
const TICK: Duration = Duration::from_secs(1);
/// A meter that has answered is asked again after this time: an object that stays behind must not keep two programs busy.
const PAUSE: Duration = Duration::from_millis(250);
/// One that has not is asked again after this time,
const AGAIN: Duration = Duration::from_secs(1);
/// and after so many times in a row nothing is known any more.
const TRIES: u32 = 3;

/// One request that has ended.
struct Heard {
    meter: Meter,
    readings: Option<Readings>,
    failures: u32,
}

/// Listens until `stop`. An object that looks different from before is named to `changed`.
pub async fn go(
    ctx: Arc<Context>,
    workers: Arc<dyn Workers>,
    changed: mpsc::Sender<Name>,
    stop: CancellationToken,
) {
    let mut listening: HashSet<Meter> = HashSet::new();
    let mut requests: FuturesUnordered<BoxFuture<'static, Heard>> = FuturesUnordered::new();
    let mut look = interval(TICK);
    loop {
        // Biased: a stop is obeyed before anything else is heard, and new meters must not wait for talkative ones.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = look.tick() => {
                for meter in ctx.meters.all() {
                    if listening.insert(meter.clone()) {
                        requests.push(ask(Arc::clone(&workers), meter, 0, 0, Duration::ZERO));
                    }
                }
            }
            Some(heard) = requests.next(), if !requests.is_empty() => {
                let Heard { meter, readings, failures } = heard;
                let (version, wait) = readings.as_ref().map_or((0, AGAIN), |heard| (heard.version, PAUSE));
                match readings {
                    Some(readings) => hear(&ctx, &readings, &changed).await,
                    None if failures == TRIES => lose(&ctx, &meter, &changed).await,
                    None => {}
                }
                if ctx.meters.all().contains(&meter) {
                    requests.push(ask(Arc::clone(&workers), meter, version, failures, wait));
                } else {
                    listening.remove(&meter);
                }
            }
        }
    }
}

fn ask(
    workers: Arc<dyn Workers>,
    meter: Meter,
    after: u64,
    failures: u32,
    wait: Duration,
) -> BoxFuture<'static, Heard> {
    async move {
        sleep(wait).await;
        let readings = workers.readings(&meter.host(), after).await;
        let failures = if readings.is_some() { 0 } else { failures + 1 };
        Heard { meter, readings, failures }
    }
    .boxed()
}

/// Takes up what a meter says: of the topics that were to be made, and of those of its objects that have no workers how
/// far they are behind.
pub async fn hear(ctx: &Context, readings: &Readings, changed: &mpsc::Sender<Name>) {
    for reading in &readings.objects {
        let Some((namespace, name)) = reading.name.split_once('/') else { continue };
        let name = Name { namespace: namespace.to_owned(), name: name.to_owned() };
        let provisioned = ctx.registry.provisioned(&name, &reading.uid, reading.provisioned.as_ref());
        let measured = match ctx.registry.asleep(&name).filter(|subject| subject.uid == reading.uid) {
            Some(subject) => take_up(ctx, &subject, metered(&reading.measured)).await,
            None => false,
        };
        if provisioned || measured {
            // Nobody listens any more at the end only.
            let _ = changed.send(name).await;
        }
    }
}

/// The meter is silent: of its objects without workers nothing is known.
async fn lose(ctx: &Context, meter: &Meter, changed: &mpsc::Sender<Name>) {
    for name in ctx.meters.objects_of(meter) {
        if let Some(subject) = ctx.registry.asleep(&name)
            && take_up(ctx, &subject, Picture::default()).await
        {
            // As above.
            let _ = changed.send(name).await;
        }
    }
}
