//! The rounds: every object's workers are asked again and again, at a pace that the number of objects sets.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Heard, Name, Subject,
    ask::Workers,
    gather::{Picture, gather},
};
use crate::{context::Context, scaling::act::act};

/// How often a round begins.
const TICK: Duration = Duration::from_secs(1);
/// The workers of one object are asked this often at most,
const INTERVAL: Duration = Duration::from_secs(5);
/// in each round where their number follows the lag,
const SCALED: Duration = Duration::from_millis(900);
/// and of so many objects each second at most.
const PER_SECOND: u32 = 100;
/// Where that is the bound, those that keep saying the same are asked so many times more rarely.
const AT_REST: u32 = 4;
/// Objects that are asked about at a time.
const AT_ONCE: usize = 32;

/// Asks until `stop`. An object that looks different from before is named to `changed`.
pub async fn go(
    ctx: Arc<Context>,
    workers: Arc<dyn Workers>,
    changed: mpsc::Sender<Name>,
    stop: CancellationToken,
) {
    loop {
        // Biased: a stop is obeyed before another round.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(TICK) => {}
        }
        let objects = ctx.registry.len();
        let due = ctx.registry.due(Instant::now(), |subject, calm| interval(subject, calm, objects));
        let round = stream::iter(due).for_each_concurrent(AT_ONCE, |subject| {
            let (ctx, workers, changed) = (&ctx, &workers, &changed);
            async move {
                if look(ctx, workers.as_ref(), &subject).await {
                    // Nobody listens any more at the end only.
                    let _ = changed.send(subject.name).await;
                }
            }
        });
        // Biased as above; a round that is cut off has asked in vain, nothing else.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

/// Asks the workers of one object. Says whether it looks different from before.
pub async fn look(ctx: &Context, workers: &dyn Workers, subject: &Subject) -> bool {
    let said = workers.ask(&subject.host).await;
    let name = subject.name.to_string();
    take_up(ctx, subject, gather(&name, subject.shared, said)).await
}

/// Takes up a picture of an object, and scales it where that is the operator's to do. Says whether it looks different
/// from before.
pub async fn take_up(ctx: &Context, subject: &Subject, picture: Picture) -> bool {
    let Heard { changed, happenings } = ctx.registry.heard(subject, picture, Timestamp::now());
    ctx.events.publish(&subject.reference(), &happenings).await;
    match ctx.registry.decide(subject, Instant::now()) {
        Some(decided) => act(ctx, subject, decided).await || changed,
        None => changed,
    }
}

/// How often the workers of this one of so many objects are asked, when they have said the same that often in a row.
fn interval(subject: &Subject, calm: u32, objects: usize) -> Duration {
    let least = if subject.scaling.is_some() { SCALED } else { INTERVAL };
    let paced = Duration::from_secs(1) * u32::try_from(objects).unwrap_or(u32::MAX) / PER_SECOND;
    match paced > least {
        true if subject.scaling.is_none() => paced * (1 + calm).min(AT_REST),
        true => paced,
        false => least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::tests::subject, scaling::decide::tests::plan};

    /// U140: a number of workers that follows the lag is looked at each second.
    #[test]
    fn the_pace_is_bounded_for_one_and_for_all() {
        let fixed = subject("1");
        let scaled = Subject { scaling: Some(plan()), ..fixed.clone() };
        assert_eq!(interval(&fixed, 9, 1), INTERVAL);
        assert!(interval(&scaled, 9, 1) < TICK);
        for subject in [&fixed, &scaled] {
            assert_eq!(interval(subject, 0, 3000), Duration::from_secs(30));
        }
        let at_rest = [&fixed, &scaled].map(|subject| interval(subject, 9, 3000).as_secs());
        assert_eq!(at_rest, [120, 30], "but where the lag decides over the workers");
    }
}
