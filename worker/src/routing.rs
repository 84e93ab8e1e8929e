//! One object's part in routing by key: the wire between members over TCP, beside its pump.
//!
//! It opens and accepts streams, reads the secret and runs what the engine's [`routing`](keyweir_engine::routing) is
//! made of; what is said over a stream is none of its business.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_contract::WorkerConfig;
use keyweir_contract::policy::Routing as Policy;
use keyweir_contract::source::{Coordination, PeerWire};
use keyweir_engine::ownership::Neighbours;
use keyweir_engine::ownership::values::WireValue;
use keyweir_engine::pump::{DispatchLimit, Trouble};
use keyweir_engine::{Failure, error_chain};
use keyweir_handlers::AnyHandler;
use keyweir_routing::{
    Couriers, Dial, ExecutionLog, Hosting, HostingSettings, Routed, Router, RoutingCounters, RoutingStats,
    Secret, SecretError, Secrets, Stream, Unavailable, VERSIONS,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::wiring::StartError;

/// How many streams of other members are open at most: strangers can't use up more.
const STREAMS: usize = 4096;

/// How long nothing is accepted when the system has no more descriptors.
const BREATH: std::time::Duration = std::time::Duration::from_millis(100);

/// What the routing of an object stands on.
pub(crate) struct Ground {
    pub(crate) handlers: Vec<Arc<AnyHandler>>,
    pub(crate) limit: DispatchLimit,
    pub(crate) log: Option<Arc<dyn ExecutionLog>>,
    /// The prefix of the object.
    pub(crate) object: String,
    /// How many records may execute here at a time.
    pub(crate) seats: usize,
    /// Where others reach this process, if that is not where it listens.
    pub(crate) advertised: Option<IpAddr>,
    /// Cancelled = nothing new of other owners is taken.
    pub(crate) leave: CancellationToken,
    /// Cancelled = the pump has ended.
    pub(crate) off: CancellationToken,
}

/// An object's part in routing by key.
pub(crate) struct Routing {
    pub(crate) handlers: Vec<Arc<Routed<AnyHandler>>>,
    pub(crate) neighbours: Neighbours,
    /// What other members are told.
    pub(crate) address: String,
    pub(crate) wire: WireValue,
    pub(crate) sight: Sight,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

/// Routing, as readers outside see it.
#[derive(Clone)]
pub(crate) struct Sight {
    hosting: Arc<Hosting<AnyHandler>>,
    stats: Arc<RoutingStats>,
}

impl Sight {
    pub(crate) fn counters(&self) -> RoutingCounters {
        self.stats.now()
    }

    /// Handlers that said last that they are unavailable.
    pub(crate) fn unavailable(&self) -> watch::Receiver<Unavailable> {
        self.hosting.unavailable()
    }

    /// The same as troubles are told.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let unavailable = self.unavailable();
        let unavailable = unavailable.borrow();
        let told = |(route, Failure { reason, text }): (&u8, &Failure)| Trouble {
            about: format!("handler/{route}"),
            reason,
            text: text.to_string(),
        };
        unavailable.iter().map(told).collect()
    }

    /// From now on so many records execute here at a time.
    pub(crate) fn set_seats(&self, seats: usize) {
        self.hosting.set_seats(seats);
    }
}

/// The wire that a configuration asks for; `None` = records are handled where they are read.
pub(crate) fn wire(config: &WorkerConfig) -> Option<&PeerWire> {
    match (&config.fixed.coordination, config.fixed.routing) {
        (Coordination::Etcd(etcd), Policy::Key) => etcd.peer.as_ref(),
        _ => None,
    }
}

/// Begins to listen and to look for other members.
pub(crate) async fn start(
    config: &WorkerConfig,
    peer: &PeerWire,
    ground: Ground,
) -> Result<Routing, StartError> {
    let failed = |source| StartError::Wire { address: peer.listen.clone(), source };
    let listener = TcpListener::bind(&peer.listen).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let secrets = Arc::new(SecretFile(peer.secret_file.clone()));
    let (roll_to, roll) = watch::channel(None);
    let (hosted_to, hosted) = watch::channel(0);
    let stats = Arc::new(RoutingStats::default());
    let hosting = Arc::new(Hosting::new(HostingSettings {
        handlers: ground.handlers.clone(),
        object: ground.object.clone(),
        seats: ground.seats,
        roll: roll.clone(),
        limit: ground.limit.clone(),
        leave: ground.leave,
        hosted: hosted_to,
        stats: Arc::clone(&stats),
        log: ground.log,
    }));
    let couriers = Couriers::new(
        ground.object,
        Arc::new(Tcp),
        Arc::<SecretFile>::clone(&secrets),
        roll,
        ground.limit,
        Arc::clone(&stats),
    );
    let router = Arc::new(Router::new(Arc::clone(&hosting), &couriers));
    let routed =
        |(route, handler): (u8, Arc<AnyHandler>)| Arc::new(Routed::by(Arc::clone(&router), handler, route));
    let handlers = (0..).zip(ground.handlers).map(routed).collect();
    let accepting = accept(listener, Arc::clone(&hosting), secrets, ground.off.clone());
    let tasks = vec![tokio::spawn(couriers.run(ground.off)), tokio::spawn(accepting)];
    let (oldest, newest) = VERSIONS;
    Ok(Routing {
        handlers,
        neighbours: Neighbours { roll: roll_to, hosted },
        address: advertised(bound, ground.advertised).to_string(),
        wire: WireValue { oldest, newest, handlers: config.handlers_hash() },
        sight: Sight { hosting, stats },
        tasks,
    })
}

/// Where others reach a listener: one on all addresses of a pod is reached at the pod's.
fn advertised(bound: SocketAddr, own: Option<IpAddr>) -> SocketAddr {
    let ip = own.filter(|_| bound.ip().is_unspecified()).unwrap_or(bound.ip());
    SocketAddr::new(ip, bound.port())
}

async fn accept(
    listener: TcpListener,
    hosting: Arc<Hosting<AnyHandler>>,
    secrets: Arc<SecretFile>,
    off: CancellationToken,
) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            // The end first: what is dropped with it is cancelled. Ended streams give room before new ones take it.
            () = off.cancelled() => return,
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
            accepted = listener.accept(), if streams.len() < STREAMS => match accepted {
                Ok((stream, _)) => {
                    let (hosting, secrets) = (Arc::clone(&hosting), Arc::clone(&secrets));
                    streams.spawn(serve(stream, hosting, secrets));
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream of another member was not accepted");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
}

async fn serve(stream: TcpStream, hosting: Arc<Hosting<AnyHandler>>, secrets: Arc<SecretFile>) {
    let secret = match secrets.secret().await {
        Ok(secret) => secret,
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "another member can't be recognised");
            return;
        }
    };
    // Answers are small and waited for. A stream that can't be told so works all the same.
    let _ = stream.set_nodelay(true);
    hosting.serve(Box::new(stream), &secret).await;
}

/// The secret's file, read whenever somebody greets: it may be rotated.
struct SecretFile(PathBuf);

impl Secrets for SecretFile {
    fn secret(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        let path = self.0.clone();
        async move {
            let read = tokio::fs::read(&path).await;
            let path = path.display().to_string();
            Secret::new(&read.map_err(|source| SecretError::Read { path, source })?)
        }
        .boxed()
    }
}

/// Streams over TCP.
struct Tcp;

impl Dial for Tcp {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let address = address.to_owned();
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_at_the_pods() {
        let bound = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let pod = Some("10.1.2.3".parse().expect("an address"));
        assert_eq!(advertised(bound("0.0.0.0:7070"), pod), bound("10.1.2.3:7070"));
        assert_eq!(advertised(bound("127.0.0.1:9"), pod), bound("127.0.0.1:9"));
        assert_eq!(advertised(bound("0.0.0.0:9"), None), bound("0.0.0.0:9"));
    }
}
