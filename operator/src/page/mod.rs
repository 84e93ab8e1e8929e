//! The status page: what this installation looks after, read-only, in one page that needs no other software.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /v1/overview?find=TEXT&only=attention` | all objects together, and those that are shown, as JSON |
//! | `GET /v1/objects/NAMESPACE/NAME` | an object's conditions, and its workers and their shards, asked now, as JSON |
//!
//! It has no login. So it is served on a loopback address only, to callers that name it so: who may forward a port to the
//! operator's pod sees it (`kubectl port-forward`), and no page of another origin does. It says nothing that `kubectl get`
//! and the workers' own `/v1/objects` don't say, and changes nothing.

pub mod board;
mod detail;
mod overview;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderName, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{detail::Detail, overview::Overview};
use crate::{
    context::Context,
    registry::{Name, ask::Workers},
    telemetry::chain,
};

const PAGE: &str = include_str!("page.html");
/// Nothing is loaded from anywhere else, and nobody shows it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Why the page can't be served.
#[derive(Debug, Error)]
pub enum PageError {
    /// Others could reach it.
    #[error("failed to accept {address}: the status page has no login, give it a loopback address")]
    Public {
        /// The address.
        address: SocketAddr,
    },
    /// The address is taken.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What every request may look at.
#[derive(Clone)]
struct Desk {
    ctx: Arc<Context>,
    workers: Arc<dyn Workers>,
}

/// Takes the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, PageError> {
    if !address.ip().is_loopback() {
        return Err(PageError::Public { address });
    }
    TcpListener::bind(address).await.map_err(|source| PageError::Listen { address, source })
}

/// Serves until `stop`. Without the page the operator works all the same.
pub async fn go(address: SocketAddr, ctx: Arc<Context>, workers: Arc<dyn Workers>, stop: CancellationToken) {
    match listen(address).await {
        Ok(listener) => {
            info!(%address, "the status page is served");
            serve(listener, ctx, workers, stop).await;
        }
        Err(error) => {
            warn!(cause = chain(&error), "there is no status page");
            stop.cancelled().await;
        }
    }
}

/// Serves on a listener until `stop`.
pub async fn serve(
    listener: TcpListener,
    ctx: Arc<Context>,
    workers: Arc<dyn Workers>,
    stop: CancellationToken,
) {
    let routes = Router::new()
        .route("/", get(page))
        .route("/v1/overview", get(overview))
        .route("/v1/objects/{namespace}/{name}", get(detail))
        .layer(from_fn(local_only))
        .with_state(Desk { ctx, workers });
    let ended = stop.clone().cancelled_owned();
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(ended).await {
        warn!(%error, "the status page has ended");
        stop.cancelled().await;
    }
}

/// A name that leads here by somebody else's DNS is not ours: his page could read ours through it.
async fn local_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    if ["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "ask for localhost: the status page is for this machine only\n")
            .into_response()
    }
}

async fn page() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, PAGE)
}

/// What is to be shown.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    /// Objects whose name holds this.
    #[serde(default)]
    find: String,
    /// `attention`: objects that need some.
    #[serde(default)]
    only: String,
}

async fn overview(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Json<Overview> {
    Json(Overview::of(&desk.ctx, &asked.find, asked.only == "attention"))
}

async fn detail(State(desk): State<Desk>, Path((namespace, name)): Path<(String, String)>) -> Json<Detail> {
    Json(Detail::of(&desk.ctx, desk.workers.as_ref(), Name { namespace, name }).await)
}
