//! From arguments to a running operator, and to its orderly end.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use kube::{Client, client::ClientBuilder};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    args::Args,
    context::Context,
    controllers::stream_consumer,
    http::{self, HttpError, Readiness},
    leader::{Election, LeaderError},
    metrics::Metrics,
    page,
    probe::{ProbeError, probe},
    registry::ask::HttpWorkers,
    settings::{Settings, SettingsError},
    throttle::{Rate, ThrottleLayer},
};

/// What the operator can't go on from.
#[derive(Debug, Error)]
pub enum RunError {
    /// The settings are wrong.
    #[error("failed to load the settings")]
    Settings(#[source] SettingsError),
    /// There is neither a pod's account nor a kubeconfig.
    #[error("failed to find the API server")]
    Config(#[source] kube::config::InferConfigError),
    /// The client can't be made of what was found.
    #[error("failed to make a client")]
    Client(#[source] kube::Error),
    /// Signals can't be listened to.
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    /// A second signal came before all had ended.
    #[error("failed to end before a second signal")]
    Forced,
    /// The port is not to be had, or was lost.
    #[error("failed to serve")]
    Http(#[source] HttpError),
    /// Another operator is not ready.
    #[error("failed to probe")]
    Probe(#[source] ProbeError),
    /// Another replica leads.
    #[error("failed to stay the leader")]
    Leader(#[source] LeaderError),
}

/// How often the API server is asked for, until it answers once.
const KNOCK: Duration = Duration::from_secs(1);

/// Runs until a signal asks it to end, or the lead is lost.
///
/// Boxed, so that all of it is compiled with this library, not again with each program that calls it.
pub fn run(args: Args) -> BoxFuture<'static, Result<(), RunError>> {
    Box::pin(start(args))
}

async fn start(args: Args) -> Result<(), RunError> {
    if let Some(url) = &args.probe {
        return probe(url).await.map_err(RunError::Probe);
    }
    let settings = Settings::load(&args).map_err(RunError::Settings)?;
    let metrics = Metrics::default();
    let client = connect(&args, &metrics).await?;
    let listener = http::listen(args.listen).await.map_err(RunError::Http)?;
    let signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let readiness = Readiness::default();
    info!(version = env!("CARGO_PKG_VERSION"), class = settings.class, "the operator starts");

    let context = Arc::new(Context::new(client.clone(), settings, metrics.clone()));
    let shown = page::go(args.status_page, Arc::clone(&context), Arc::new(HttpWorkers), stop.clone());
    let served = serve(listener, readiness.clone(), metrics, &stop);
    let worked = async {
        let led = lead(&args, client, readiness, context, &stop).await;
        stop.cancel();
        led
    };
    let ended = async {
        let (served, led, ()) = tokio::join!(served, worked, shown);
        served.and(led)
    };
    // Biased: an orderly end counts, even in the moment of a second signal.
    tokio::select! {
        biased;
        ended = ended => ended,
        forced = signals.obey(&stop) => Err(forced),
    }
}

/// A failing port ends the operator, and the other way round.
async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let served = http::serve(listener, readiness, metrics, stop.clone()).await.map_err(RunError::Http);
    stop.cancel();
    served
}

async fn connect(args: &Args, metrics: &Metrics) -> Result<Client, RunError> {
    // There may be several providers among the dependencies: one is chosen for all, before the first use.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        warn!("another TLS provider was installed before");
    }
    let config = kube::Config::infer().await.map_err(RunError::Config)?;
    let rate = Rate { per_second: args.api_rate, burst: args.api_burst };
    let builder = ClientBuilder::try_from(config).map_err(RunError::Client)?;
    Ok(builder.with_layer(&ThrottleLayer::new(rate, metrics.clone())).build())
}

/// Waits for the lead, reconciles as long as it lasts, gives it up.
async fn lead(
    args: &Args,
    client: Client,
    readiness: Readiness,
    context: Arc<Context>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    if !reached(&client, stop).await {
        return Ok(());
    }
    readiness.set(true);
    let metrics = context.metrics.clone();
    let Some(election) = election(args, client) else {
        metrics.leads(true);
        stream_consumer::run(context, args.concurrency, stop.clone()).await;
        return Ok(());
    };
    if !election.won(stop).await {
        return Ok(());
    }
    metrics.leads(true);
    // Reconciles end before the lease is given up, so that two leaders never overlap.
    let reconciling = stop.child_token();
    let finished = CancellationToken::new();
    let reconciled = async {
        stream_consumer::run(context, args.concurrency, reconciling.clone()).await;
        finished.cancel();
    };
    let kept = async {
        let kept = election.keep(&finished).await;
        reconciling.cancel();
        kept
    };
    let ((), kept) = tokio::join!(reconciled, kept);
    metrics.leads(false);
    kept.map_err(RunError::Leader)
}

fn election(args: &Args, client: Client) -> Option<Election> {
    let lease = args.lease.clone()?;
    let identity = args.instance.clone().unwrap_or_else(|| format!("process-{}", std::process::id()));
    let namespace = args.instance_namespace.as_deref().unwrap_or("default");
    Some(Election::new(client, namespace, lease, identity))
}

/// Asks the API server for its version until it answers. `false`: stopped before.
async fn reached(client: &Client, stop: &CancellationToken) -> bool {
    loop {
        match client.apiserver_version().await {
            Ok(version) => {
                info!(kubernetes = version.git_version, "the API server answers");
                return true;
            }
            Err(error) => warn!(%error, "the API server does not answer"),
        }
        // Biased: a stop is obeyed before another try.
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = sleep(KNOCK) => {}
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, RunError> {
        let on = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// The first signal cancels `stop`; the second ends this future, and whoever waits for anything with it.
    async fn obey(mut self, stop: &CancellationToken) -> RunError {
        self.next().await;
        info!("asked to stop");
        stop.cancel();
        self.next().await;
        RunError::Forced
    }

    async fn next(&mut self) {
        // Biased for a fixed order; both mean the same.
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
