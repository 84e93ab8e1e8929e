//! From two statuses to what happened between them: the events. Pure.

use keyweir_crds::status::StreamConsumerStatus;

use super::conditions::{SHARD_UNOWNED, condition};
use crate::cluster::{conditions::find, events::Happening};

/// What is to be told about the way from one status to the next.
pub fn between(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Vec<Happening> {
    let all = [accepted, rollout, crashed, unowned].map(|of| of(before, after));
    all.into_iter().flatten().collect()
}

/// The reason of a condition that is true, or the same of one that is false.
fn reason<'a>(status: &'a StreamConsumerStatus, type_: &str, truth: &str) -> Option<&'a str> {
    find(&status.conditions, type_)
        .filter(|condition| condition.status == truth)
        .map(|condition| condition.reason.as_str())
}

fn message(status: &StreamConsumerStatus, type_: &str) -> String {
    find(&status.conditions, type_).map(|condition| condition.message.clone()).unwrap_or_default()
}

fn accepted(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Option<Happening> {
    let refusal = reason(after, condition::ACCEPTED, "False")?;
    (reason(before, condition::ACCEPTED, "False") != Some(refusal)).then(|| Happening {
        reason: "Refused",
        action: "Validate",
        warning: true,
        note: message(after, condition::ACCEPTED),
    })
}

fn rollout(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Option<Happening> {
    let was = reason(before, condition::PROGRESSING, "True");
    let is = reason(after, condition::PROGRESSING, "True");
    let (reason, action, note) = match (was, is) {
        (was, Some("RollingOut")) if was != Some("RollingOut") => {
            ("RolloutStarted", "RollOut", "workers of a new template start".to_owned())
        }
        (Some("RollingOut"), None) if reason(after, condition::READY, "True").is_some() => {
            ("RolloutCompleted", "RollOut", message(after, condition::READY))
        }
        (was, Some("Scaling")) if was != Some("Scaling") => {
            ("Scaled", "Scale", message(after, condition::PROGRESSING))
        }
        _ => return None,
    };
    Some(Happening { reason, action, warning: false, note })
}

fn crashed(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Option<Happening> {
    let crash = reason(after, condition::HANDLER, "False")?;
    (reason(before, condition::HANDLER, "False") != Some(crash)).then(|| Happening {
        reason: "HandlerCrashed",
        action: "Observe",
        warning: true,
        note: message(after, condition::HANDLER),
    })
}

fn unowned(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Option<Happening> {
    let is = |status| reason(status, condition::DEGRADED, "True") == Some(SHARD_UNOWNED);
    (is(after) && !is(before)).then(|| Happening {
        reason: SHARD_UNOWNED,
        action: "Observe",
        warning: true,
        note: message(after, condition::DEGRADED),
    })
}
