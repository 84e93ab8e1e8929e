//! Two replicas and one Lease.

use std::time::Duration;

use keyweir_operator::leader::{Election, Pace};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::fake::FakeApi;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/keyweir/leases/operator";

/// Fast enough for a test, with room for a busy machine.
const PACE: Pace = Pace {
    duration: Duration::from_millis(1500),
    deadline: Duration::from_millis(1000),
    period: Duration::from_millis(100),
};

fn replica(api: &FakeApi, identity: &str) -> Election {
    Election::new(api.client(), "keyweir", "operator".to_owned(), identity.to_owned()).at(PACE)
}

fn holder(api: &FakeApi) -> String {
    let lease = api.get(LEASE).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_first_leads_and_hands_over_when_it_stops() {
    let api = FakeApi::default();
    let (first, second) = (replica(&api, "first"), replica(&api, "second"));
    let (stop, go_on) = (CancellationToken::new(), CancellationToken::new());
    assert!(first.won(&go_on).await);
    assert!(
        timeout(PACE.duration * 2, async {
            // Biased: the leader renews before the other looks.
            tokio::select! {
                biased;
                _ = first.keep(&go_on) => true,
                won = second.won(&go_on) => won,
            }
        })
        .await
        .is_err()
    );

    stop.cancel();
    first.keep(&stop).await.expect("giving up is no loss");
    let begun = Instant::now();
    assert!(second.won(&go_on).await);
    assert!(begun.elapsed() < PACE.duration);
    assert_eq!(holder(&api), "second");
}

#[tokio::test]
async fn a_silent_leader_is_replaced_after_its_lease() {
    let api = FakeApi::default();
    let go_on = CancellationToken::new();
    assert!(replica(&api, "first").won(&go_on).await);
    let begun = Instant::now();
    assert!(replica(&api, "second").won(&go_on).await);
    assert!(begun.elapsed() >= PACE.duration);
}

#[tokio::test]
async fn a_leader_that_was_replaced_stops() {
    let api = FakeApi::default();
    let go_on = CancellationToken::new();
    let first = replica(&api, "first");
    assert!(first.won(&go_on).await);
    api.change(LEASE, |lease| lease["spec"]["holderIdentity"] = json!("second"));
    assert!(first.keep(&go_on).await.is_err());
    assert_eq!(holder(&api), "second");
}

#[tokio::test]
async fn a_leader_that_cant_renew_stops_before_its_lease_runs_out() {
    let api = FakeApi::default();
    let go_on = CancellationToken::new();
    let first = replica(&api, "first");
    assert!(first.won(&go_on).await);
    for _ in 0..100 {
        api.fail(http::Method::GET, LEASE, 500, "InternalError");
    }
    let begun = Instant::now();
    assert!(first.keep(&go_on).await.is_err());
    assert!(begun.elapsed() < PACE.duration);
}
