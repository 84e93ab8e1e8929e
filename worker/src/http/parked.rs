//! `/v1/parked`: what is kept aside, and what becomes of it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/parked?object=ns/name&after=ID&limit=100` | the parked records, by id |
//! | `GET /v1/parked/show?object=…&id=ID` | one of them |
//! | `POST /v1/parked/release?object=…&id=ID` | it is handled again: out of its order, or with those behind it, in order |
//! | `POST /v1/parked/skip?object=…&id=ID` | it is forgotten; those that stood behind it are handled again, in order |
//!
//! `object` may be left out where there is only one.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use keyweir_core::{Offset, ShardId};
use keyweir_engine::error_chain;
use keyweir_engine::ports::{BlockedKey, ParkedId, ParkedRecord, ParkedStore};
use keyweir_engine::pump::{Command, Replay};
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
pub struct Parked {
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
    /// Whether later records of its key follow it here.
    pub blocks_key: bool,
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
            blocks_key: parked.blocks.is_some(),
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
    let key = parked.blocks.clone();
    let (reply, answer) = oneshot::channel();
    let mut replay = ask(&view, Command::Replay { parked: Box::new(parked), reply }, answer).await?;
    if let Some(key) = key
        && let Replay::After(first) = &replay
    {
        let first = first.clone();
        if store.get(&first).await.map_err(|error| broken(&error))?.is_none() {
            // It has gone without a word: those behind it may go on.
            replay = go_on(&view, first, key).await?;
        }
    }
    match replay {
        Replay::Alone => Ok(format!("{id} is handled again, out of its order\n")),
        Replay::InOrder => Ok(format!("{id} and those behind it are handled again, in order\n")),
        Replay::After(first) => {
            let text = format!("{first} of the same key comes first: release or skip that one\n");
            Err((StatusCode::CONFLICT, text))
        }
        Replay::NotOwned => {
            Err((StatusCode::CONFLICT, format!("{} is not owned by this process\n", id.shard)))
        }
    }
}

async fn skip(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Result<String, Refused> {
    let (view, store) = find(&desk, &asked)?;
    let (id, parked) = one(store.as_ref(), &asked).await?;
    store.remove(&id).await.map_err(|error| broken(&error))?;
    if let Some(key) = parked.blocks
        && go_on(&view, id.clone(), key).await? == Replay::InOrder
    {
        return Ok(format!("{id} is forgotten, and those behind it are handled again, in order\n"));
    }
    Ok(format!("{id} is forgotten\n"))
}

/// Lets the records go on that stood behind one that is gone.
async fn go_on(view: &ObjectView, id: ParkedId, key: BlockedKey) -> Result<Replay, Refused> {
    let (reply, answer) = oneshot::channel();
    ask(view, Command::Skipped { id, key, reply }, answer).await
}

async fn ask(
    view: &ObjectView,
    command: Command,
    answer: oneshot::Receiver<Replay>,
) -> Result<Replay, Refused> {
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the object has ended\n".to_owned());
    view.pump().send(command).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())
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
            let text = format!("say which object, with --object or ?object=: {}\n", names.join(", "));
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
    parse_id(text).map_err(|text| (StatusCode::BAD_REQUEST, format!("{text}\n")))
}

/// Reads `topic/partition@offset`; else what is wrong with it.
pub fn parse_id(text: &str) -> Result<ParkedId, String> {
    let parsed = text.rsplit_once('@').and_then(|(shard, offset)| {
        Some(ParkedId { shard: shard.parse::<ShardId>().ok()?, offset: Offset(offset.parse().ok()?) })
    });
    parsed.ok_or_else(|| format!("{text:?} is no id: want TOPIC/PARTITION@OFFSET"))
}

fn broken(error: &dyn std::error::Error) -> Refused {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error_chain(error)))
}
