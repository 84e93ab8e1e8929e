//! `GET /v1/objects`: what `keyweir run` shows and scripts read.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use keyweir_core::ShardId;
use keyweir_engine::notices::Notice;
use keyweir_engine::pump::{Activity, Trouble};
use serde::Serialize;

use super::Desk;
use crate::host::{Awaited, ObjectView};
use crate::retire;

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/v1/objects", get(list))
}

/// One object, as JSON.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectStatus {
    name: String,
    activity: &'static str,
    polled: u64,
    completed: u64,
    concurrency: usize,
    in_flight: usize,
    in_sight: usize,
    busy_keys: usize,
    waiting: usize,
    retries: u64,
    parked: u64,
    dead_lettered: u64,
    /// Records that are kept aside now. Absent = unknown, never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_aside: Option<u64>,
    /// Absent = unknown, never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    missing: Vec<String>,
    troubles: Vec<TroubleStatus>,
    /// The last attempt that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<FailureStatus>,
    /// What has happened once, the last few.
    notices: Vec<NoticeStatus>,
    /// Bytes that the process holds in memory. Absent = unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    /// What this member knows of all of them. Absent: there is only this one, and all shards are its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<FleetStatus>,
    shards: Vec<ShardStatus>,
}

/// What is wrong, and with what: `source`, `coordination`, `checkpoints`, `handler/<route>`, a shard, a topic.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TroubleStatus {
    about: String,
    reason: &'static str,
    text: String,
}

/// Why an attempt failed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailureStatus {
    reason: &'static str,
    text: String,
    seconds_ago: u64,
}

/// What has happened once. The number tells it from the others of this process.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NoticeStatus {
    number: u64,
    reason: &'static str,
    text: String,
    seconds_ago: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FleetStatus {
    members: usize,
    shards: usize,
    unowned: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardStatus {
    shard: String,
    fence: String,
    frontier: i64,
    durable: i64,
    next: i64,
    outstanding: usize,
    paused: bool,
    /// Records behind the frontier. Absent = unknown, never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    /// Age of the oldest of them in seconds. Absent = unknown, never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u64>,
    /// Since this worker owns it, changes were lost that its source can no longer show.
    history_lost: bool,
}

async fn list(State(desk): State<Desk>) -> Json<Vec<ObjectStatus>> {
    let awaited = desk.awaited.borrow().iter().map(awaits).collect::<Vec<_>>();
    Json(desk.views.borrow().iter().map(status).chain(awaited).collect())
}

/// An object that can't begin yet: nothing but what it lacks.
fn awaits(Awaited { name, troubles }: &Awaited) -> ObjectStatus {
    ObjectStatus {
        name: name.clone(),
        activity: "Waiting",
        missing: troubles.iter().map(|trouble| format!("{}: {}", trouble.reason, trouble.text)).collect(),
        troubles: troubles.iter().cloned().map(TroubleStatus::from).collect(),
        ..ObjectStatus::default()
    }
}

impl From<Notice> for NoticeStatus {
    fn from(Notice { number, reason, text, at }: Notice) -> Self {
        Self { number, reason, text, seconds_ago: at.elapsed().as_secs() }
    }
}

impl From<Trouble> for TroubleStatus {
    fn from(trouble: Trouble) -> Self {
        Self { about: trouble.about, reason: trouble.reason, text: trouble.text }
    }
}

fn status(view: &ObjectView) -> ObjectStatus {
    let (snapshot, lag) = (view.snapshot(), view.lag());
    let lag_of = |id: &ShardId| {
        let mut shards = lag.iter().flat_map(|lag| &lag.shards);
        shards.find(|shard| *shard.id == *id)
    };
    let troubles = view.troubles(&snapshot).into_iter();
    let shards = snapshot.shards.iter().map(|shard| ShardStatus {
        shard: shard.id.to_string(),
        fence: shard.fence.to_string(),
        frontier: shard.frontier.0,
        durable: shard.durable.0,
        next: shard.next.0,
        outstanding: shard.outstanding,
        paused: shard.paused,
        lag: lag_of(&shard.id).map(|lag| lag.records),
        lag_seconds: lag_of(&shard.id).and_then(|lag| lag.seconds),
        history_lost: shard.history_lost,
    });
    ObjectStatus {
        name: view.name().to_owned(),
        activity: activity(snapshot.activity),
        polled: snapshot.counters.polled,
        completed: snapshot.counters.completed,
        concurrency: snapshot.concurrency,
        in_flight: snapshot.in_flight,
        in_sight: snapshot.in_sight,
        busy_keys: snapshot.busy_keys,
        waiting: snapshot.waiting,
        retries: snapshot.counters.retries,
        parked: snapshot.counters.parked,
        dead_lettered: snapshot.counters.dead_lettered,
        kept_aside: view.kept_aside(),
        lag: lag.as_ref().map(|lag| lag.records),
        missing: view.missing(&snapshot),
        troubles: troubles.map(TroubleStatus::from).collect(),
        last_failure: snapshot.last_failure.as_ref().map(|last| FailureStatus {
            reason: last.failure.reason,
            text: last.failure.text.to_string(),
            seconds_ago: last.at.elapsed().as_secs(),
        }),
        memory: retire::held(),
        notices: view.notices().last().into_iter().map(NoticeStatus::from).collect(),
        fleet: view.fleet().filter(|fleet| fleet.member.is_some()).map(|fleet| FleetStatus {
            members: fleet.members,
            shards: fleet.shards,
            unowned: fleet.unowned,
        }),
        shards: shards.collect(),
    }
}

fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Running => "Running",
        Activity::Paused => "Paused",
        Activity::Frozen => "Frozen",
        Activity::Draining => "Draining",
        Activity::Stopped => "Stopped",
    }
}
