//! `/v1/parked`: what is kept aside, and what becomes of it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/parked?object=ns/name&after=ID&limit=100` | the parked records, by id |
//! | `GET /v1/parked/show?object=…&id=ID` | one of them |
//! | `POST /v1/parked/release?object=…&id=ID` | it is handled again, out of its order |
//! | `POST /v1/parked/skip?object=…&id=ID` | it is forgotten |
//!
//! `object` may be left out where there is only one.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use keyweir_core::{Offset, ShardId};
use keyweir_engine::error_chain;
use keyweir_engine::ports::{ParkedId, ParkedRecord, ParkedStore};
use keyweir_engine::pump::Command;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::oneshot;

use super::Desk;
use crate::host::ObjectView;

type Refused = (StatusCode, String);

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/v1/parked", get(list))
        .route("/v1/parked/show", get(show))
        .route("/v1/parked/release", post(release))
        .route("/v1/parked/skip", post(skip))
}

#[derive(Deserialize)]
struct Asked {
    object: Option<String>,
    id: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// A parked record, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parked {
    /// `topic/partition@offset`.
    pub id: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The stable word of the last failure.
    pub reason: String,
    /// The last failure's text.
    pub text: String,
    /// When it was parked, in milliseconds since the epoch.
    pub parked_at: u64,
    /// The key, as text where it is text.
    pub key: Option<String>,
    /// The value, as text where it is text.
    pub value: Option<String>,
    /// Headers, as text where they are text.
    pub headers: Vec<(String, Option<String>)>,
}

impl From<ParkedRecord> for Parked {
    fn from(parked: ParkedRecord) -> Self {
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        let headers = parked.record.headers.into_iter();
        Self {
            id: parked.id.to_string(),
            attempts: parked.attempts,
            reason: parked.reason,
            text: parked.text,
            parked_at: parked.parked_at.0,
            key: parked.record.key.map(text),
            value: parked.record.value.map(text),
            headers: headers.map(|(name, value)| (name, value.map(text))).collect(),
        }
    }
}

async fn list(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Result<Json<Vec<Parked>>, Refused> {
    let (_, store) = find(&desk, &asked)?;
    let after = asked.after.as_deref().map(id).transpose()?;
    let found = store.list(after, asked.limit.unwrap_or(100).min(10_000)).await;
    let found = found.map_err(|error| broken(&error))?;
    Ok(Json(found.into_iter().map(Parked::from).collect()))
}

async fn show(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Result<Json<Parked>, Refused> {
    let (_, store) = find(&desk, &asked)?;
    let (_, record) = one(store.as_ref(), &asked).await?;
    Ok(Json(record.into()))
}

async fn release(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Result<String, Refused> {
    let (view, store) = find(&desk, &asked)?;
    let (id, parked) = one(store.as_ref(), &asked).await?;
    let (reply, answer) = oneshot::channel();
    let replay = Command::Replay { id: id.clone(), record: parked.record, reply };
    let gone = |_| (StatusCode::SERVICE_UNAVAILABLE, "the object has ended\n".to_owned());
    view.pump().send(replay).await.map_err(gone)?;
    match answer.await {
        Ok(true) => Ok(format!("{id} is handled again, out of its order\n")),
        Ok(false) => Err((StatusCode::CONFLICT, format!("{} is not owned by this process\n", id.shard))),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "the object has ended\n".to_owned())),
    }
}

async fn skip(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Result<String, Refused> {
    let (_, store) = find(&desk, &asked)?;
    let (id, _) = one(store.as_ref(), &asked).await?;
    store.remove(&id).await.map_err(|error| broken(&error))?;
    Ok(format!("{id} is forgotten\n"))
}

fn find(desk: &Desk, asked: &Asked) -> Result<(ObjectView, Arc<dyn ParkedStore>), Refused> {
    let views = desk.views.borrow();
    let found = match &asked.object {
        Some(name) => {
            views.iter().find(|view| view.name() == name || view.name().ends_with(&format!("/{name}")))
        }
        None if views.len() == 1 => views.first(),
        None => {
            let names: Vec<_> = views.iter().map(ObjectView::name).collect();
            let text = format!("say which object with ?object=: {}\n", names.join(", "));
            return Err((StatusCode::BAD_REQUEST, text));
        }
    };
    let view = found.ok_or_else(|| (StatusCode::NOT_FOUND, "no such object here\n".to_owned()))?;
    let store = view.parked().cloned();
    let store = store
        .ok_or_else(|| (StatusCode::NOT_FOUND, "the object has no place for parked records\n".to_owned()))?;
    Ok((view.clone(), store))
}

async fn one(store: &dyn ParkedStore, asked: &Asked) -> Result<(ParkedId, ParkedRecord), Refused> {
    let text = asked.id.as_deref().unwrap_or_default();
    let id = id(text)?;
    let found = store.get(&id).await.map_err(|error| broken(&error))?;
    found.map(|record| (id, record)).ok_or_else(|| (StatusCode::NOT_FOUND, format!("{text} is not parked\n")))
}

fn id(text: &str) -> Result<ParkedId, Refused> {
    let parsed = text.rsplit_once('@').and_then(|(shard, offset)| {
        Some(ParkedId { shard: shard.parse::<ShardId>().ok()?, offset: Offset(offset.parse().ok()?) })
    });
    parsed
        .ok_or_else(|| (StatusCode::BAD_REQUEST, format!("{text:?} is no id: want TOPIC/PARTITION@OFFSET\n")))
}

fn broken(error: &dyn std::error::Error) -> Refused {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error_chain(error)))
}
