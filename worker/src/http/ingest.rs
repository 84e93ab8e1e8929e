//! `POST /v1/topics/{topic}`: appends to the embedded log.
//!
//! The body is JSON lines (`application/x-ndjson`, many records) or one JSON object (`application/json`), each
//! `{"key": "…", "value": <any JSON>, "headers": {"name": "text"}, "partition": 0}`; all but `value` optional, a
//! string value is its text, `valueBase64`/`keyBase64` carry bytes as they are. Any other content type is one
//! record whose value is the body, with its key in `?key=`. Answers 200 with the places once the records are
//! durable, 400 with the line that is wrong (then nothing was appended), 507 when the log can't write (a full disk, say).

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use keyweir_embedded::AppendError;
use keyweir_engine::{NewRecord, error_chain};
use serde::{Deserialize, Serialize};

use super::Desk;
use crate::lines::{self, LineError};

/// Largest body.
const MOST: usize = 256 << 20;

pub(super) fn routes() -> Router<Desk> {
    let limit = axum::extract::DefaultBodyLimit::max(MOST);
    Router::new().route("/v1/topics/{topic}", post(append).layer(limit))
}

#[derive(Deserialize)]
struct Given {
    key: Option<String>,
}

/// Where a record stands now.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Appended {
    /// The partition.
    pub partition: u32,
    /// Its place there.
    pub offset: i64,
}

async fn append(
    State(desk): State<Desk>,
    Path(topic): Path<String>,
    Query(given): Query<Given>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Vec<Appended>>, (StatusCode, String)> {
    let Some(log) = desk.log else {
        return Err((
            StatusCode::NOT_FOUND,
            "this process has no embedded log: it was started without --data\n".to_owned(),
        ));
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let records =
        records(kind, given.key, body).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let places = log.append(&topic, records).await.map_err(|error| {
        let code = match error {
            AppendError::Store { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::BAD_REQUEST,
        };
        (code, format!("{}\n", error_chain(&error)))
    })?;
    Ok(Json(
        places.iter().map(|place| Appended { partition: place.partition, offset: place.offset.0 }).collect(),
    ))
}

fn records(kind: &str, key: Option<String>, body: Bytes) -> Result<Vec<NewRecord>, LineError> {
    if kind.starts_with("application/x-ndjson") {
        return lines::records(&body);
    }
    if kind.starts_with("application/json") {
        return lines::record(&body, 1).map(|record| vec![record]);
    }
    Ok(vec![NewRecord { key: key.map(Bytes::from), value: Some(body), ..NewRecord::default() }])
}
