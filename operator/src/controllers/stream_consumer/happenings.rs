//! From two statuses to what happened between them: the events. Pure.

use keyweir_crds::status::StreamConsumerStatus;

use super::conditions::{SHARD_UNOWNED, condition};
use crate::cluster::{conditions::find, events::Happening};

/// The handler's container, or a child process, has ended by itself.
const HANDLER_CRASHED: &str = "HandlerCrashed";

/// What is to be told about the way from one status to the next.
pub fn between(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Vec<Happening> {
    let all = [accepted, rollout, handler, child, parked, unowned].map(|of| of(before, after));
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

fn handler(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Option<Happening> {
    let trouble = reason(after, condition::HANDLER, "False")?;
    let word = match trouble {
        "Stuck" => "HandlerStuck",
        "CrashLoop" | "ContainerNotStarted" => HANDLER_CRASHED,
        _ => "HandlerUnreachable",
    };
    (reason(before, condition::HANDLER, "False") != Some(trouble)).then(|| Happening {
        reason: word,
        action: "Observe",
        warning: true,
        note: message(after, condition::HANDLER),
    })
}

/// A child process of the worker has ended while it held a record.
fn child(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Option<Happening> {
    let error = after.last_error.as_ref().filter(|error| error.reason == HANDLER_CRASHED)?;
    (before.last_error.as_ref() != Some(error)).then(|| Happening {
        reason: HANDLER_CRASHED,
        action: "Handle",
        warning: true,
        note: error.message.clone(),
    })
}

/// Records that were parked since the last status, together.
fn parked(before: &StreamConsumerStatus, after: &StreamConsumerStatus) -> Option<Happening> {
    let (had, has) = (before.parked.unwrap_or(0), after.parked?);
    (has > had).then(|| Happening {
        reason: "RecordParked",
        action: "Park",
        warning: true,
        note: format!("{} more records are kept aside, {has} in all: keyweir parked list", has - had),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(status: Value) -> StreamConsumerStatus {
        serde_json::from_value(status).expect("a status")
    }

    fn told(before: Value, after: Value) -> Vec<(&'static str, String)> {
        let happenings = between(&status(before), &status(after));
        happenings.into_iter().map(|happening| (happening.reason, happening.note)).collect()
    }

    #[test]
    fn records_that_were_parked_are_told_together() {
        let note = "3 more records are kept aside, 5 in all: keyweir parked list".to_owned();
        assert_eq!(told(json!({"parked": 2}), json!({"parked": 5})), [("RecordParked", note)]);
        assert_eq!(told(json!({"parked": 5}), json!({"parked": 2})), []);
        assert_eq!(told(json!({"parked": 5}), json!({})), []);
    }

    #[test]
    fn a_handler_that_crashes_is_told_from_one_that_is_stuck_or_away() {
        let handler = |truth: &str, reason: &str| {
            json!({"conditions": [{"type": "HandlerHealthy", "status": truth, "reason": reason, "message": "why",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
        };
        let well = || handler("True", "Healthy");
        for (reason, word) in [
            ("CrashLoop", "HandlerCrashed"),
            ("Stuck", "HandlerStuck"),
            ("Unreachable", "HandlerUnreachable"),
        ] {
            assert_eq!(told(well(), handler("False", reason)), [(word, "why".to_owned())]);
            assert_eq!(told(handler("False", reason), handler("False", reason)), []);
            assert_eq!(told(handler("False", reason), well()), []);
        }
    }

    #[test]
    fn a_child_process_that_crashes_is_told_when_the_error_is_new() {
        let crashed = |second: u8| {
            json!({"lastError": {"reason": "HandlerCrashed", "message": "it ended with 1",
                "time": format!("2026-01-01T00:00:0{second}Z")}})
        };
        assert_eq!(told(json!({}), crashed(1)), [("HandlerCrashed", "it ended with 1".to_owned())]);
        assert_eq!(told(crashed(1), crashed(1)), []);
        assert_eq!(told(crashed(1), crashed(2)).len(), 1);
    }
}
