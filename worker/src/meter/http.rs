//! What a meter says over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez`, `GET /readyz` | 200 while it answers; never asks a broker |
//! | `GET /metrics` | Prometheus text |
//! | `GET /v1/readings?after=VERSION&wait=SECONDS` | every object, at once or when something changes; see the contract |
//! | `GET /v1/lag/NAMESPACE/NAME` | `{"lag": 12}`, for autoscalers; 503 while it is not known, never 0 |

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use keyweir_contract::meter::{Measured, Readings};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use crate::metrics;

/// Nobody is made to wait longer.
const LONGEST: u64 = 30;

type Seen = watch::Receiver<Board>;

pub(super) async fn serve(
    listener: TcpListener,
    board: Seen,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async || "ok\n"))
        .route("/metrics", get(scrape))
        .route("/v1/readings", get(readings))
        .route("/v1/lag/{namespace}/{name}", get(lag))
        .with_state(board);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
}

async fn readings(State(mut board): State<Seen>, Query(asked): Query<Asked>) -> Json<Readings> {
    let news = board.wait_for(|board| board.version() != asked.after);
    // What there is at the end of the wait is the answer, new or not.
    let _ = tokio::time::timeout(Duration::from_secs(asked.wait.min(LONGEST)), news).await.is_ok();
    Json(board.borrow().told())
}

async fn lag(State(board): State<Seen>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let object = format!("{namespace}/{name}");
    match board.borrow().of(&object).map(|reading| &reading.measured) {
        Some(Measured::Backlog(backlog)) => Json(json!({"lag": backlog.records})).into_response(),
        Some(Measured::Trouble(trouble)) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!(trouble))).into_response()
        }
        None => {
            let text = format!("{object} is not measured here, or not yet");
            (StatusCode::NOT_FOUND, Json(json!({"reason": "NotMeasured", "text": text}))).into_response()
        }
    }
}

async fn scrape(State(board): State<Seen>) -> Response {
    match metrics::of_meter(board.borrow().all()) {
        Ok(text) => (metrics::CONTENT, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
