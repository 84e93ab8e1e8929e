//! etcd keeps what the port promises: the same suite as for the fake, over plain text, TLS and with users.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_contract::endpoints::{ClientCertificate, EtcdEndpoint, PasswordLogin, Tls};
use keyweir_e2e::etcd::Etcd;
use keyweir_engine::ports::{LeaseStore, Pulse, StoreError, Transaction};
use keyweir_engine::testing::conformance::lease_store::{Fixture, all};
use keyweir_etcd::{Connection, EtcdStore};
use tokio::time::{Instant, sleep};

/// The shortest TTL that etcd grants as it is asked for.
const TTL: Duration = Duration::from_secs(2);

struct Real<'a> {
    etcd: &'a Etcd,
    endpoint: EtcdEndpoint,
}

impl Fixture for Real<'_> {
    fn client(&self) -> Arc<dyn LeaseStore> {
        Arc::new(store(self.endpoint.clone()))
    }

    fn compact(&self) -> BoxFuture<'_, ()> {
        async { self.etcd.compact().map(drop).unwrap() }.boxed()
    }

    fn ttl(&self) -> Duration {
        TTL
    }
}

fn store(endpoint: EtcdEndpoint) -> EtcdStore {
    EtcdStore::new(Connection::new(endpoint, Duration::from_secs(2)))
}

fn plain(etcd: &Etcd) -> EtcdEndpoint {
    EtcdEndpoint { endpoints: vec![etcd.endpoint()], tls: None, login: None }
}

#[tokio::test]
async fn etcd_conforms() {
    let etcd = Etcd::start().unwrap();
    all(&Real { endpoint: plain(&etcd), etcd: &etcd }).await;
}

/// Debian's etcd is 3.4; this one is 3.6.
#[tokio::test]
async fn a_newer_etcd_conforms() {
    let etcd = Etcd::start_newer().unwrap();
    all(&Real { endpoint: plain(&etcd), etcd: &etcd }).await;
}

#[tokio::test]
async fn tls_users_and_client_certificates_come_from_files() {
    let etcd = Etcd::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let client = etcd.client_certificate();
    let tls = Tls {
        ca: Some(etcd.authority().ca()),
        client: Some(ClientCertificate { certificate: client.cert, key: client.key }),
    };
    let secure = EtcdEndpoint { endpoints: vec![etcd.tls_endpoint()], tls: Some(tls), login: None };
    put(&store(secure.clone()), "/shop/tls").await.unwrap();

    etcd.require_users("shop", "/shop/").unwrap();
    assert!(matches!(put(&store(secure.clone()), "/shop/a").await, Err(StoreError::Refused { .. })));
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "wrong\n").unwrap();
    let login = Some(PasswordLogin { username: "shop".into(), password_file: password_file.clone() });
    let store = store(EtcdEndpoint { login, ..secure });
    assert!(matches!(put(&store, "/shop/a").await, Err(StoreError::Refused { .. })));
    // The secret is rotated: the same store takes it up by itself.
    std::fs::write(&password_file, "shop-secret\n").unwrap();
    put(&store, "/shop/a").await.unwrap();
    assert!(matches!(put(&store, "/other/a").await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn a_server_that_is_away_is_passed_over() {
    let etcd = Etcd::start().unwrap();
    let nobody = "http://127.0.0.1:1".to_owned();
    let endpoints = vec![nobody.clone(), etcd.endpoint(), nobody];
    let store = store(EtcdEndpoint { endpoints, tls: None, login: None });
    let mut tries = 0;
    while put(&store, "/k").await.is_err() {
        tries += 1;
        assert!(tries <= 2);
    }
    for _ in 0..5 {
        put(&store, "/k").await.unwrap();
    }
}

#[tokio::test]
async fn a_frozen_server_ends_calls_at_their_deadline_and_is_used_again_when_it_is_back() {
    let mut etcd = Etcd::start().unwrap();
    let store = store(plain(&etcd));
    put(&store, "/k").await.unwrap();
    let grant = store.grant(Duration::from_secs(5)).await.unwrap();
    let renewals = store.keep(grant, Pulse::new());
    etcd.pause().unwrap();
    let asked = Instant::now();
    assert!(matches!(put(&store, "/k").await, Err(StoreError::Unreachable { .. })));
    assert!(asked.elapsed() < Duration::from_secs(4));
    let sent = renewals.clock();
    etcd.resume().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while put(&store, "/k").await.is_err() || renewals.clock() == sent {
        assert!(Instant::now() < until, "the store is not back");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_ttl_below_what_etcd_grants_is_told() {
    let etcd = Etcd::start().unwrap();
    let grant = store(plain(&etcd)).grant(Duration::from_millis(100)).await.unwrap();
    assert!(grant.ttl >= Duration::from_secs(1), "{:?}", grant.ttl);
}

async fn put(store: &EtcdStore, key: &str) -> Result<(), StoreError> {
    store.commit(Transaction::new().put(key, "x", None)).await.map(drop)
}
