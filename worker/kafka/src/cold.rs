//! Calls that ask a broker and wait: made on threads that may block, each with a deadline.
//!
//! One client, made at the first call and again when its secrets have changed. Up: [`crate::source`],
//! [`crate::checkpoints`], [`crate::parked`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_engine::ports::SourceError;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use tokio::task::JoinHandle;

use crate::config::{CALL_TIMEOUT, ConfigError, Connection};
use crate::context::Context;
use crate::error::{config_error, source_error_of};

/// Runs something that blocks where that is allowed; it ends by itself.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

/// The client for cold calls.
pub(crate) type ColdClient = BaseConsumer<Context>;

/// Log lines and errors wait in the client until it is polled.
fn hear(client: &ColdClient) {
    for _ in 0..16 {
        let _ = client.poll(Duration::ZERO);
    }
}

/// One client for calls that may wait.
#[derive(Clone)]
pub(crate) struct Cold {
    connection: Connection,
    group: Option<Arc<str>>,
    /// Locked by blocking threads only, and never while a broker is asked.
    made: Arc<Mutex<Option<Made>>>,
}

struct Made {
    client: Arc<ColdClient>,
    secrets: u64,
}

impl Cold {
    /// Connects to nobody yet.
    pub(crate) fn new(connection: Connection, group: Option<&str>) -> Self {
        Self { connection, group: group.map(Into::into), made: Arc::default() }
    }

    /// The group, for errors.
    pub(crate) fn group(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }

    /// Makes one call where waiting is allowed; `what` is for the error.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        what: impl Into<String>,
        call: impl FnOnce(&Arc<ColdClient>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, SourceError> {
        let what = what.into();
        let (this, name) = (self.clone(), what.clone());
        let work = blocking(move || {
            let client = this.client().map_err(|error| config_error(name.as_str(), error))?;
            hear(&client);
            call(&client).map_err(|error| {
                hear(&client);
                source_error_of(name, error, Some(client.context().as_ref()))
            })
        });
        // The calls have deadlines of their own; this one is for those of them that add up.
        match tokio::time::timeout(CALL_TIMEOUT * 2, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(gone)) => Err(SourceError::Unreachable { what, source: gone.into() }),
            Err(late) => Err(SourceError::Unreachable { what, source: late.into() }),
        }
    }

    /// The same, as the ports want it.
    pub(crate) fn call_boxed<'a, T: Send + 'static>(
        &'a self,
        what: impl Into<String>,
        call: impl FnOnce(&Arc<ColdClient>) -> KafkaResult<T> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, SourceError>> {
        self.call(what.into(), call).boxed()
    }

    fn client(&self) -> Result<Arc<ColdClient>, ConfigError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = self.connection.fingerprint();
        if let Some(made) = made.as_ref().filter(|made| made.secrets == secrets) {
            return Ok(Arc::clone(&made.client));
        }
        let client = self
            .connection
            .cold(self.group.as_deref())?
            .create_with_context(Context::default())
            .map(Arc::new)
            .map_err(|source| ConfigError::Client { cluster: self.connection.name(), source })?;
        *made = Some(Made { client: Arc::clone(&client), secrets });
        Ok(client)
    }
}
