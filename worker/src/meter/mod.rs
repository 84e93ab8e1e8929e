//! `keyweir-worker meter`: measures how far objects are behind, whether or not they have workers.
//!
//! ```text
//!  objects/NAME.json ──▶ gauge (one for each object: asks its broker, at a bounded pace) ──▶ board ──▶ http
//! ```
//! The operator makes one for each namespace, broker and login, and asks it ([`http`]); an autoscaler may, too. It
//! reads records of nobody, joins no group and writes nothing but what keeps the groups' offsets from expiring. Topics
//! that an object wants to be made, and that are missing, it makes.

mod board;
mod gauge;
mod http;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use keyweir_contract::WorkerConfig;
use keyweir_contract::worker_config::LogLevel;
use keyweir_engine::error_chain;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::board::Board;
use self::gauge::Gauge;
use crate::args::MeterArgs;
use crate::config::{self, LOOK_AGAIN};
use crate::signals::Signals;
use crate::telemetry;

/// An object is measured this often,
const INTERVAL: Duration = Duration::from_millis(500);
/// and less often where there are many: each second so many at most.
const PER_SECOND: u32 = 100;

/// One measurement that has ended, and the gauge for the next.
struct Round {
    name: String,
    gauge: Gauge,
}

/// Measures until SIGTERM. Exit code 1 = it could not listen.
pub(crate) async fn run(args: MeterArgs) -> ExitCode {
    telemetry::init(LogLevel::Info);
    let (board, seen) = watch::channel(Board::begin());
    let listening = async {
        let signals = Signals::listen()?;
        Ok::<_, std::io::Error>((signals, TcpListener::bind(args.listen).await?))
    };
    let (mut signals, listener) = match listening.await {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(address = %args.listen, %error, "failed to listen");
            return ExitCode::FAILURE;
        }
    };
    let stop = CancellationToken::new();
    let served = http::serve(listener, seen, stop.clone());
    let measured = measure(&args.objects, &board, &stop);
    let stopped = async {
        signals.next().await;
        stop.cancel();
    };
    let (served, (), ()) = tokio::join!(served, measured, stopped);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the listener has ended");
            ExitCode::FAILURE
        }
    }
}

/// Measures all objects of the directory, each on its own, until `stop`.
async fn measure(objects: &Path, board: &watch::Sender<Board>, stop: &CancellationToken) {
    let mut known: HashMap<String, WorkerConfig> = HashMap::new();
    let mut rounds: FuturesUnordered<BoxFuture<'static, Round>> = FuturesUnordered::new();
    let mut look = tokio::time::interval(LOOK_AGAIN);
    loop {
        tokio::select! {
            biased;
            // The end first. Then the directory: what is gone is not measured again.
            () = stop.cancelled() => return,
            _ = look.tick() => {
                let found = read(objects);
                for (name, config) in &found {
                    let same = known.get(name).is_some_and(|known| gauge::is_same(known, config));
                    if let Some(gauge) = Gauge::of(config).filter(|_| !same) {
                        rounds.push(round(name.clone(), gauge, Duration::ZERO));
                    }
                }
                board.send_if_modified(|board| board.keep(|name| found.contains_key(name)));
                known = found.into_iter().collect();
            }
            Some(Round { name, gauge }) = rounds.next(), if !rounds.is_empty() => {
                // A changed object has a gauge of its own by now.
                if known.get(&name).is_some_and(|config| gauge.fits(config)) {
                    board.send_if_modified(|board| board.put(&name, gauge.reading(&name)));
                    rounds.push(round(name, gauge, interval(known.len())));
                }
            }
        }
    }
}

fn round(name: String, mut gauge: Gauge, wait: Duration) -> BoxFuture<'static, Round> {
    async move {
        tokio::time::sleep(wait).await;
        gauge.measure().await;
        Round { name, gauge }
    }
    .boxed()
}

fn interval(objects: usize) -> Duration {
    let objects = u32::try_from(objects).unwrap_or(u32::MAX);
    INTERVAL.max(Duration::from_secs(1) * objects / PER_SECOND)
}

/// The configurations in the directory, by `namespace/name`. One that can't be read is told and left out.
fn read(objects: &Path) -> BTreeMap<String, WorkerConfig> {
    let files = match std::fs::read_dir(objects) {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(directory = %objects.display(), %error, "the objects can't be listed");
            return BTreeMap::new();
        }
    };
    let paths = files.flatten().map(|file| file.path());
    let configs = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    configs
        .filter_map(|path| match config::read(&path) {
            Ok(config) => Some((crate::wiring::object_name(&config), config)),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "an object is not measured");
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_bounded_for_one_and_for_all() {
        assert_eq!(interval(1), INTERVAL);
        assert_eq!(interval(1000), Duration::from_secs(10));
    }
}
