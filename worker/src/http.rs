//! What a worker says over HTTP: probes, metrics, the local endpoints of `keyweir run`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez` | 200 while the process answers; never asks a broker |
//! | `GET /readyz` | 200, or 503 with what is missing, a line each |
//! | `GET /metrics` | Prometheus text |
//! | `GET /v1/objects` | counters, lag and shards of each object, as JSON |
//! | `POST /v1/topics/{topic}` | appends to the embedded log; see [`ingest`] |
//! | `/v1/parked…` | see [`parked`] |
//!
//! The same is served on a Unix socket in the data directory, for `keyweir send` and `keyweir parked`.

mod ingest;
mod objects;
pub mod parked;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use keyweir_embedded::{DataDir, Log};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::host::{Awaited, HostError, Views};
use crate::metrics;

/// Name of the socket in a data directory.
pub const SOCKET: &str = "control.sock";

/// What every request may look at.
#[derive(Clone)]
pub(crate) struct Desk {
    views: Views,
    /// Whether there is no object because every one is to be stopped: then all is as it should be.
    rests: watch::Receiver<bool>,
    /// Objects that can't begin yet.
    awaited: watch::Receiver<Vec<Awaited>>,
    log: Option<Log>,
}

/// Listeners under way.
pub(crate) struct Server {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        for task in self.tasks {
            // A listener that panicked has said so in the log.
            let _ = task.await;
        }
        if let Some(socket) = self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// Begins to listen, on the address and in the data directory, where given.
pub(crate) async fn serve(
    listen: Option<SocketAddr>,
    directory: Option<&DataDir>,
    views: Views,
    rests: watch::Receiver<bool>,
    awaited: watch::Receiver<Vec<Awaited>>,
) -> Result<Option<Server>, HostError> {
    let desk = Desk { views, rests, awaited, log: directory.map(DataDir::log) };
    let cancel = CancellationToken::new();
    let mut server = Server { address: None, socket: None, cancel: cancel.clone(), tasks: Vec::new() };
    if let Some(address) = listen {
        let failed = |source| HostError::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        server.address = Some(listener.local_addr().map_err(failed)?);
        let serving = axum::serve(listener, routes(desk.clone()))
            .with_graceful_shutdown(cancel.clone().cancelled_owned());
        server.tasks.push(tokio::spawn(async move { said(serving.await) }));
    }
    if let Some(directory) = directory {
        let path = directory.path().join(SOCKET);
        let listener = bind_socket(&path)
            .map_err(|source| HostError::Listen { address: path.display().to_string(), source })?;
        let serving = axum::serve(listener, routes(desk)).with_graceful_shutdown(cancel.cancelled_owned());
        server.tasks.push(tokio::spawn(async move { said(serving.await) }));
        server.socket = Some(path);
    }
    Ok(Some(server))
}

/// The directory's lock is held: a socket that is still there belongs to a process that is gone.
fn bind_socket(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

fn said(served: std::io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(%error, "a listener has ended");
    }
}

fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .merge(objects::routes())
        .merge(ingest::routes())
        .merge(parked::routes())
        .with_state(desk)
}

async fn ready(State(desk): State<Desk>) -> impl IntoResponse {
    let views = desk.views.borrow().clone();
    let mut missing = String::new();
    for view in &views {
        for what in view.missing(&view.snapshot()) {
            missing.push_str(&format!("{}: {what}\n", view.name()));
        }
    }
    for Awaited { name, troubles } in desk.awaited.borrow().iter() {
        for trouble in troubles {
            missing.push_str(&format!("{name}: {}: {}\n", trouble.reason, trouble.text));
        }
    }
    if missing.is_empty() && views.is_empty() && !*desk.rests.borrow() {
        missing.push_str("no object is at work yet\n");
    }
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing)
    }
}

async fn scrape(State(desk): State<Desk>) -> impl IntoResponse {
    match metrics::text(&desk.views) {
        Ok(text) => (metrics::CONTENT, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
