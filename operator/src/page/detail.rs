//! What the page is told of one object: its conditions as the API server has them, and what its workers have just said.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use keyweir_crds::{
    StreamConsumer,
    status::{LastErrorStatus, ScalingStatus},
};
use serde::Serialize;

use super::board::Tone;
use crate::{
    context::Context,
    controllers::{Stored, read, stream_consumer::conditions::condition},
    registry::{
        Name,
        ask::Workers,
        gather::{Said, Trouble},
    },
};

/// One object.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail {
    conditions: Vec<ConditionRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<ScalingStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastErrorStatus>,
    members: Vec<MemberRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionRow {
    #[serde(rename = "type")]
    type_: String,
    reason: String,
    message: String,
    tone: Tone,
}

/// One of its workers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberRow {
    address: String,
    in_flight: i64,
    completed: i64,
    shards: Vec<ShardRow>,
    troubles: Vec<Trouble>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardRow {
    shard: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<i64>,
}

impl Detail {
    /// Asks for it; what nobody says is left out. Only objects that are looked after are asked about.
    pub(super) async fn of(ctx: &Context, workers: &dyn Workers, name: Name) -> Self {
        if !ctx.board.has(&name) {
            return Self::default();
        }
        let object = name.to_string();
        let asked = async {
            match ctx.registry.host(&name) {
                Some(host) => members(&object, workers.ask(&host).await),
                None => Vec::new(),
            }
        };
        let stored = read::<StreamConsumer>(&ctx.client, &name.namespace, &name.name);
        let (stored, members) = tokio::join!(stored, asked);
        let status = match stored {
            Ok(Stored::Readable(consumer)) => consumer.status.unwrap_or_default(),
            _ => return Self { members, ..Self::default() },
        };
        Self {
            conditions: status.conditions.into_iter().filter_map(ConditionRow::of).collect(),
            scaling: status.scaling,
            last_error: status.last_error,
            members,
        }
    }
}

impl ConditionRow {
    /// The condition, unless another one says the same.
    fn of(found: Condition) -> Option<Self> {
        let wants = match found.type_.as_str() {
            condition::RECONCILING => return None,
            condition::PROGRESSING
            | condition::DEGRADED
            | condition::STALLED
            | condition::LAGGING
            | condition::HISTORY_LOST
            | condition::PAUSED => "False",
            _ => "True",
        };
        let tone = match (found.type_.as_str(), found.status.as_str()) {
            (_, status) if status == wants => Tone::Good,
            (_, "Unknown") | (condition::PAUSED, _) => Tone::Idle,
            (condition::PROGRESSING, _) => Tone::Busy,
            (condition::STALLED | condition::ACCEPTED, _) => Tone::Bad,
            _ => Tone::Warn,
        };
        Some(Self { type_: found.type_, reason: found.reason, message: found.message, tone })
    }
}

/// What the workers of an object have just said, in the order of their addresses.
fn members(object: &str, mut said: Vec<Said>) -> Vec<MemberRow> {
    said.sort_by_key(|said| said.address);
    let mut rows = Vec::new();
    for Said { address, objects } in said {
        for answer in objects.into_iter().filter(|answer| answer.name == object) {
            let shards = answer.shards.into_iter();
            rows.push(MemberRow {
                address: address.to_string(),
                in_flight: answer.in_flight,
                completed: answer.completed,
                shards: shards
                    .map(|shard| ShardRow {
                        shard: shard.shard,
                        lag: shard.lag,
                        lag_seconds: shard.lag_seconds,
                    })
                    .collect(),
                troubles: answer.troubles,
            });
        }
    }
    rows
}
