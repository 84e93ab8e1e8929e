//! One process's way to etcd: one server at a time, the next one after a failure. Up: the [crate](crate).
//!
//! Certificates and the password are read from their files whenever a connection is made, so that a rotated secret
//! is taken up by itself: a server that no longer accepts the old one refuses, and the refusal makes a new client.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use keyweir_contract::endpoints::{EtcdEndpoint, PasswordLogin, Tls};
use keyweir_engine::ports::StoreError;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::error::{ConnectError, Kind, Late, kind, store_error};

/// A server that does not accept a connection for so long is passed over.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// How often an idle connection is probed: etcd closes connections that are probed more often.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// A way to etcd. Cheap to clone; all clones use one client.
///
/// A client lives on the runtime on which it was made: a thread with its own runtime takes a
/// [`Connection::another`].
#[derive(Clone, Debug)]
pub struct Connection {
    endpoint: Arc<EtcdEndpoint>,
    deadline: Duration,
    /// Held for a pointer's read or write only, never across a wait.
    slot: Arc<Mutex<Slot>>,
}

/// The client of the present server, made when it is first needed.
#[derive(Clone, Debug)]
struct Slot {
    /// Which of the servers.
    server: usize,
    client: Arc<OnceCell<Made>>,
}

struct Made(Client);

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Connection {
    /// A way to these servers; nothing is sent yet. A call is given up after `deadline`.
    #[must_use]
    pub fn new(endpoint: EtcdEndpoint, deadline: Duration) -> Self {
        // Processes begin at different servers, so that the load is spread.
        let server = std::process::id() as usize % endpoint.endpoints.len().max(1);
        let slot = Slot { server, client: Arc::default() };
        Self { endpoint: Arc::new(endpoint), deadline, slot: Arc::new(Mutex::new(slot)) }
    }

    /// A way of its own to the same servers, with another deadline for its calls.
    #[must_use]
    pub fn another(&self, deadline: Duration) -> Self {
        let slot = Slot { server: self.slot().server, client: Arc::default() };
        Self { endpoint: Arc::clone(&self.endpoint), deadline, slot: Arc::new(Mutex::new(slot)) }
    }

    /// Makes one call within the deadline. A failure that another server may not share makes the next call use that
    /// one; nothing is sent twice.
    pub(crate) async fn call<T>(
        &self,
        act: &'static str,
        from: u64,
        run: impl AsyncFnOnce(Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, StoreError> {
        let slot = self.slot();
        let made = timeout(self.deadline, slot.client.get_or_try_init(|| self.connect(slot.server))).await;
        let client = match made {
            Ok(Ok(Made(client))) => client.clone(),
            Ok(Err(error)) => {
                self.replace(&slot);
                return Err(error.into_store_error(act));
            }
            Err(_) => {
                self.replace(&slot);
                return Err(StoreError::Unreachable { act, source: Late.into() });
            }
        };
        match timeout(self.deadline, run(client)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if matches!(kind(&error), Kind::Unreachable | Kind::Refused) {
                    self.replace(&slot);
                }
                let endpoint = self.endpoint.endpoints.get(slot.server).map(String::as_str);
                Err(store_error(act, from, endpoint, error))
            }
            Err(_) => {
                self.replace(&slot);
                Err(StoreError::Unreachable { act, source: Late.into() })
            }
        }
    }

    /// The client was no good: the next call uses the next server. Only the first of many failures counts.
    fn replace(&self, bad: &Slot) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&slot.client, &bad.client) {
            let server = (slot.server + 1) % self.endpoint.endpoints.len().max(1);
            *slot = Slot { server, client: Arc::default() };
        }
    }

    fn slot(&self) -> Slot {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connect(&self, server: usize) -> Result<Made, ConnectError> {
        let endpoint = self.endpoint.endpoints.get(server).ok_or(ConnectError::NoEndpoint)?.clone();
        let options = self.options(&endpoint)?;
        let client = timeout(CONNECT_DEADLINE, Client::connect([endpoint.as_str()], Some(options))).await;
        match client {
            Ok(Ok(client)) => Ok(Made(client)),
            Ok(Err(source)) => Err(ConnectError::Connect { endpoint, source }),
            Err(_) => Err(ConnectError::Late { endpoint }),
        }
    }

    fn options(&self, endpoint: &str) -> Result<ConnectOptions, ConnectError> {
        let mut options = ConnectOptions::new()
            .with_require_leader(true)
            .with_auto_token_refresh(true)
            .with_connect_timeout(CONNECT_DEADLINE)
            .with_keep_alive(PROBE_INTERVAL, PROBE_DEADLINE);
        if endpoint.starts_with("https://") {
            options = options.with_tls(tls(&self.endpoint.tls.clone().unwrap_or_default())?);
        }
        if let Some(PasswordLogin { username, password_file }) = &self.endpoint.login {
            let password = String::from_utf8_lossy(&read(password_file)?).into_owned();
            options = options.with_user(username, password.trim_end_matches(['\r', '\n']));
        }
        Ok(options)
    }
}

fn tls(tls: &Tls) -> Result<TlsOptions, ConnectError> {
    let mut options = match &tls.ca {
        Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => TlsOptions::new().with_native_roots(),
    };
    if let Some(client) = &tls.client {
        options = options.identity(Identity::from_pem(read(&client.certificate)?, read(&client.key)?));
    }
    Ok(options)
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })
}
