//! One broker and one etcd for a whole test run.
//!
//! `make test` starts them and names them in `KEYWEIR_TEST_KAFKA` and `KEYWEIR_TEST_ETCD`. Without the
//! variable the first test that asks starts one for its own process, so a plain `cargo test` works too.
//! A test that restarts, kills or fills a part starts its own; these are for everybody, and names in them
//! must be unique ([`crate::kafka::unique`]).

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::broker::{Broker, BrokerError};
use crate::etcd::{Etcd, EtcdError};
use crate::kafka::Kafka;

/// Names the shared broker: `host:port`.
pub const KAFKA: &str = "KEYWEIR_TEST_KAFKA";
/// Names the shared etcd: `http://host:port`.
pub const ETCD: &str = "KEYWEIR_TEST_ETCD";

/// The run's broker.
///
/// # Errors
/// When there is none and none can be started.
pub fn kafka() -> Result<Kafka, BrokerError> {
    static OWN: OnceLock<Broker> = OnceLock::new();
    if let Some(address) = named(KAFKA) {
        return Ok(Kafka::at(&address));
    }
    started(&OWN, Broker::start).map(Broker::kafka)
}

/// The endpoint of the run's etcd.
///
/// # Errors
/// When there is none and none can be started.
pub fn etcd() -> Result<String, EtcdError> {
    static OWN: OnceLock<Etcd> = OnceLock::new();
    if let Some(endpoint) = named(ETCD) {
        return Ok(endpoint);
    }
    started(&OWN, Etcd::start).map(Etcd::endpoint)
}

fn named(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Tests run in parallel: the second waits for the first one's start.
fn started<T, E>(own: &'static OnceLock<T>, start: fn() -> Result<T, E>) -> Result<&'static T, E> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    match own.get() {
        Some(part) => Ok(part),
        None => start().map(|part| own.get_or_init(|| part)),
    }
}
