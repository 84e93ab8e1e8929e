//! From what is wanted and what is there to the conditions of the status. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use keyweir_contract::{meter::Provisioning, source::Delivery, worker_config::RunState};
use keyweir_crds::status::ShardsStatus;

use super::{
    dereference::{Earlier, Found, Turn},
    lagging::Backlog,
    model::{Membership, ValidStreamConsumer},
    validate::Refusal,
};
use crate::{
    cluster::{
        conditions::{Conditions, Truth},
        objects::Progress,
    },
    registry::gather::{LastFailure, Picture, Trouble as Said, shortened},
    workload::trouble::{Trouble, Whose, worst},
};

/// A shard has had no owner for longer than a move takes.
pub const SHARD_UNOWNED: &str = "ShardUnowned";
/// Why something is not known.
const NOBODY: &str = "no worker is there to tell";

/// The types of condition that the operator sets.
pub mod condition {
    /// Whether the object is as its spec asks; the summary.
    pub const READY: &str = "Ready";
    /// Whether the spec can be built.
    pub const ACCEPTED: &str = "Accepted";
    /// Whether a change is on its way.
    pub const PROGRESSING: &str = "Progressing";
    /// The same, by the name that kstatus reads.
    pub const RECONCILING: &str = "Reconciling";
    /// Whether it works, but worse than asked.
    pub const DEGRADED: &str = "Degraded";
    /// Whether a person must act.
    pub const STALLED: &str = "Stalled";
    /// Whether records can be read.
    pub const SOURCE: &str = "SourceReachable";
    /// Whether members meet.
    pub const COORDINATION: &str = "CoordinationReachable";
    /// Whether the handler answers.
    pub const HANDLER: &str = "HandlerHealthy";
    /// Whether changes were compacted before they could be delivered; only where each one was asked for.
    pub const HISTORY_LOST: &str = "HistoryLost";
    /// Whether it is further behind than its user wants.
    pub const LAGGING: &str = "Lagging";
    /// Whether the topics that were to be made are there as they are wanted; only where some were to be made.
    pub const PROVISIONED: &str = "Provisioned";
    /// Whether it was asked to take no records.
    pub const PAUSED: &str = "Paused";
}

/// The conditions of an object whose spec can't be built, or whose pods the API server refused.
pub fn refused(previous: &[Condition], found: &Found, refusal: &Refusal) -> Vec<Condition> {
    let mut set = Conditions::renewed(previous, found.generation, found.now);
    let (reason, message) = (refusal.reason, refusal.message.as_str());
    if refusal.of_pods {
        set.set(condition::ACCEPTED, Truth::True, "Accepted", "");
        set.set(condition::DEGRADED, Truth::True, reason, message);
    } else {
        set.set(condition::ACCEPTED, Truth::False, reason, message);
    }
    set.set(condition::PROGRESSING, Truth::False, reason, message);
    set.set(condition::RECONCILING, Truth::False, reason, "");
    set.set(condition::STALLED, Truth::True, reason, message);
    set.set(condition::READY, Truth::False, reason, message);
    set.into_list()
}

/// The conditions of an object that was built and applied. `progress` is absent while a workload of the other
/// sort still has pods.
pub fn applied(
    previous: &[Condition],
    found: &Found,
    valid: &ValidStreamConsumer,
    progress: Option<Progress>,
) -> Vec<Condition> {
    let view = View {
        valid,
        progress: progress.unwrap_or_default(),
        trouble: worst(&found.pods),
        picture: found.known.picture.as_ref().filter(|picture| picture.answers > 0),
        unowned: found.known.unowned,
        provisioned: found.known.provisioned.as_ref(),
    };
    let mut set = Conditions::renewed(previous, found.generation, found.now);
    view.accepted(&mut set);
    view.progressing(&mut set);
    view.degraded(&mut set);
    view.stalled(&mut set);
    view.source(&mut set);
    view.coordination(&mut set);
    view.handler(&mut set);
    view.history(&mut set);
    view.lagging(&mut set);
    view.topics(&mut set);
    view.paused(&mut set);
    view.ready(&mut set);
    set.into_list()
}

struct View<'a> {
    valid: &'a ValidStreamConsumer,
    progress: Progress,
    trouble: Option<Trouble>,
    /// What the workers say; absent while none of them answers.
    picture: Option<&'a Picture>,
    /// Whether a shard has had no owner for longer than a move takes.
    unowned: bool,
    /// What became of the topics that were to be made.
    provisioned: Option<&'a Provisioning>,
}

impl View<'_> {
    fn accepted(&self, set: &mut Conditions) {
        match self.lacks() {
            Some(lack) => {
                set.set(condition::ACCEPTED, Truth::False, &lack.reason, shortened(lack.text.clone()));
            }
            None => set.set(condition::ACCEPTED, Truth::True, "Accepted", ""),
        }
    }

    /// The Secret or ConfigMap that is missing. The operator itself may not look.
    fn lacks(&self) -> Option<&Said> {
        let mut troubles = self.picture.iter().flat_map(|picture| &picture.troubles);
        troubles.find(|trouble| ["SecretMissing", "KeyMissing"].contains(&trouble.reason.as_str()))
    }

    fn progressing(&self, set: &mut Conditions) {
        let Progress { desired, current, updated, ready, observed } = self.progress;
        let (truth, reason, message) =
            if !observed || updated < current.min(desired) || updated < desired.min(1) {
                (Truth::True, "RollingOut", format!("{updated} of {desired} workers run the newest template"))
            } else if current != desired {
                (Truth::True, "Scaling", format!("{current} workers run, {desired} are wanted"))
            } else if ready < desired && self.trouble.is_none() {
                (Truth::True, "RollingOut", format!("{ready} of {desired} workers are ready"))
            } else if let Some(ShardsStatus { total, owned }) = self.moving() {
                (Truth::True, "Rebalancing", format!("{owned} of {total} shards have an owner"))
            } else {
                (Truth::False, "UpToDate", self.valid.kept.as_ref().map(waits).unwrap_or_default())
            };
        set.set(condition::RECONCILING, truth, reason, "");
        set.set(condition::PROGRESSING, truth, reason, message);
    }

    /// The shards, while some of them are on their way to an owner.
    fn moving(&self) -> Option<ShardsStatus> {
        let runs = self.valid.state() == RunState::Running && self.progress.desired > 0 && !self.unowned;
        let shards = self.picture.filter(|picture| !picture.loads.is_empty())?.shards?;
        (runs && shards.owned < shards.total).then_some(shards)
    }

    fn degraded(&self, set: &mut Conditions) {
        let Progress { desired, ready, .. } = self.progress;
        let shards = self.picture.and_then(|picture| picture.shards).filter(|_| self.unowned);
        if let Some(ShardsStatus { total, owned }) = shards {
            let message = format!("{} of {total} shards have no owner", total - owned);
            set.set(condition::DEGRADED, Truth::True, SHARD_UNOWNED, message);
        } else if self.progress.rolled_out() && ready < desired {
            let message = format!("{ready} of {desired} workers are ready");
            set.set(condition::DEGRADED, Truth::True, "SomeReplicasUnready", message);
        } else {
            set.set(condition::DEGRADED, Truth::False, "AsExpected", "");
        }
    }

    fn stalled(&self, set: &mut Conditions) {
        match (&self.trouble, self.lacks()) {
            (Some(trouble), _) => {
                set.set(condition::STALLED, Truth::True, trouble_reason(trouble), trouble.message.clone());
            }
            (None, Some(lack)) => {
                set.set(condition::STALLED, Truth::True, &lack.reason, shortened(lack.text.clone()));
            }
            (None, None) => set.set(condition::STALLED, Truth::False, "AsExpected", ""),
        }
    }

    fn source(&self, set: &mut Conditions) {
        match (self.picture, self.said_of("source")) {
            (_, Some(trouble)) => {
                set.set(condition::SOURCE, Truth::False, &trouble.reason, shortened(trouble.text.clone()));
            }
            (Some(_), None) => set.set(condition::SOURCE, Truth::True, "Connected", ""),
            (None, None) => set.set(condition::SOURCE, Truth::Unknown, "NoAnswer", NOBODY),
        }
    }

    /// A ready member has its session: that is a part of being ready.
    fn coordination(&self, set: &mut Conditions) {
        match (self.valid.membership, self.said_of("coordination")) {
            (Membership::Single, _) => set.set(condition::COORDINATION, Truth::True, "NotRequired", ""),
            (_, Some(trouble)) => {
                let text = shortened(trouble.text.clone());
                set.set(condition::COORDINATION, Truth::False, &trouble.reason, text);
            }
            (_, None) if self.progress.ready > 0 => {
                set.set(condition::COORDINATION, Truth::True, "Connected", "");
            }
            (_, None) => {
                set.set(condition::COORDINATION, Truth::Unknown, "NoReadyMember", NOBODY);
            }
        }
    }

    /// A ready member's handler answers: that is a part of being ready, too.
    fn handler(&self, set: &mut Conditions) {
        match (&self.trouble, self.said_of("handler"), self.stuck()) {
            (Some(trouble), _, _) if trouble.of == Whose::Handler => {
                set.set(condition::HANDLER, Truth::False, trouble_reason(trouble), trouble.message.clone());
            }
            (_, Some(trouble), _) => {
                let text = shortened(trouble.text.clone());
                set.set(condition::HANDLER, Truth::False, handler_reason(&trouble.reason), text);
            }
            (_, None, Some(last)) => {
                set.set(condition::HANDLER, Truth::False, "Stuck", shortened(last.text.clone()));
            }
            _ if self.progress.ready > 0 => set.set(condition::HANDLER, Truth::True, "Healthy", ""),
            _ => set.set(condition::HANDLER, Truth::Unknown, "NoReadyMember", NOBODY),
        }
    }

    /// How a handler that promised signs of life has lately given none.
    fn stuck(&self) -> Option<&LastFailure> {
        self.picture.filter(|picture| picture.is_stuck())?.last_failure.as_ref()
    }

    fn lagging(&self, set: &mut Conditions) {
        let threshold = self.valid.lag_threshold;
        if self.valid.state() != RunState::Running || !threshold.is_set() {
            return set.clear(condition::LAGGING);
        }
        let behind = self.picture.map(|picture| Backlog { records: picture.lag, seconds: picture.seconds });
        let (truth, reason, message) = threshold.judge(behind, set.holds(condition::LAGGING));
        set.set(condition::LAGGING, truth, reason, message);
    }

    fn said_of(&self, about: &str) -> Option<&Said> {
        self.picture.and_then(|picture| picture.trouble_with(about))
    }

    fn history(&self, set: &mut Conditions) {
        if self.valid.delivery() != Some(Delivery::Every) {
            return set.clear(condition::HISTORY_LOST);
        }
        match self.picture.map(|picture| picture.history_lost) {
            None => set.set(condition::HISTORY_LOST, Truth::Unknown, "NoAnswer", NOBODY),
            Some(0) => set.set(condition::HISTORY_LOST, Truth::False, "Complete", ""),
            Some(lost) => {
                let message =
                    format!("{lost} slots went on with what stood after etcd had compacted their history");
                set.set(condition::HISTORY_LOST, Truth::True, "Compacted", message);
            }
        }
    }

    fn topics(&self, set: &mut Conditions) {
        let Some(wanted) = self.valid.wanted_topics() else {
            return set.clear(condition::PROVISIONED);
        };
        match self.provisioned.filter(|said| said.wanted == wanted) {
            None => set.set(condition::PROVISIONED, Truth::Unknown, "NoAnswer", "no meter has looked yet"),
            Some(Provisioning { reason, text, .. }) => {
                let truth = if reason == Provisioning::AS_WANTED { Truth::True } else { Truth::False };
                set.set(condition::PROVISIONED, truth, reason, shortened(text.clone()));
            }
        }
    }

    fn paused(&self, set: &mut Conditions) {
        match self.valid.state() {
            RunState::Running => set.clear(condition::PAUSED),
            RunState::Paused | RunState::Stopped => {
                set.set(condition::PAUSED, Truth::True, "Requested", "");
            }
        }
    }

    fn ready(&self, set: &mut Conditions) {
        let Progress { desired, ready, .. } = self.progress;
        if self.progress.complete() {
            let reason = match self.valid.state() {
                RunState::Paused => "Paused",
                RunState::Stopped => "Stopped",
                RunState::Running if desired == 0 => "ScaledToZero",
                RunState::Running => "Available",
            };
            set.set(condition::READY, Truth::True, reason, format!("{ready} of {desired} workers are ready"));
        } else if let Some(trouble) = &self.trouble {
            set.set(condition::READY, Truth::False, trouble_reason(trouble), trouble.message.clone());
        } else if let Some(lack) = self.lacks() {
            set.set(condition::READY, Truth::False, &lack.reason, shortened(lack.text.clone()));
        } else {
            let message = format!("{ready} of {desired} workers are ready");
            let said = self.picture.and_then(|picture| picture.troubles.first());
            match said.filter(|_| ready < desired && self.progress.rolled_out()) {
                Some(said) => {
                    let message = shortened(format!("{message}; {}: {}", said.about, said.text));
                    set.set(condition::READY, Truth::False, &said.reason, message);
                }
                None => set.set(condition::READY, Truth::False, "RollingOut", message),
            }
        }
    }
}

/// What pods of an earlier operator wait for.
fn waits(kept: &Earlier) -> String {
    let until = match kept.turn {
        Turn::Now | Turn::Later => "when it is their turn",
        Turn::WhenAsked => "when the annotation keyweir.io/restartedAt is set",
    };
    format!("workers of version {} are replaced {until}", kept.version)
}

/// The handlers' own words, without what a condition about handlers need not repeat.
fn handler_reason(word: &str) -> &str {
    match word {
        "HandlerCrashed" | "HandlerCannotStart" => "CrashLoop",
        other => other.strip_prefix("Handler").unwrap_or(other),
    }
}

fn trouble_reason(trouble: &Trouble) -> &'static str {
    if trouble.crashes() { "CrashLoop" } else { "ContainerNotStarted" }
}
