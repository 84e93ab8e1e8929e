//! What is away for a while and comes back: a part of Kubernetes, the node, a broker, an etcd.

use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::cluster::condition;
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::wait;

use crate::world::{PATIENCE, Scene, produce, ready, world};

/// A scene in which parts of the cluster are killed; `None` = the cluster is somebody's own.
fn breakable(name: &str) -> Option<Scene> {
    if world().cluster.is_ours() {
        return Some(world().scene_alone(name));
    }
    eprintln!("not run: the parts of a cluster that is not ours stay as they are");
    None
}

#[test]
fn a_kubelet_that_restarts_costs_no_worker_and_no_record() {
    let Some(scene) = breakable("kubelet") else { return };
    scene.apply(&scene.manifest(2, ""));
    scene.until_ready(2);
    let stream = scene.stream();
    let pods = scene.made("pods");
    scene.world.cluster.restart("kubelet", 3).unwrap();
    assert_eq!(scene.made("pods"), pods);
    scene.kubectl(&["scale", "stc/orders", "--replicas=3"]);
    scene.until_ready(3);
    scene.until_clean(stream.end());
}

#[test]
fn workers_go_on_without_an_api_server_and_what_was_asked_for_is_done_when_it_is_back() {
    let Some(scene) = breakable("apiserver") else { return };
    scene.apply(&scene.manifest(2, ""));
    scene.until_ready(2);
    let stream = scene.stream();
    let handled = || scene.world.witness.of(&scene.topic).handled;
    let before = handled();
    scene.kubectl(&["scale", "stc/orders", "--replicas=3"]);
    scene.world.cluster.restart("kube-apiserver", 5).unwrap();
    assert!(handled() > before, "workers need no API server");
    scene.until_ready(3);
    scene.until_clean(stream.end());
}

/// U60: what was not checkpointed when the lease ended may come again; nothing is lost and no order broken.
#[test]
fn an_etcd_that_is_away_longer_than_a_lease_is_told_and_nothing_is_lost() {
    let scene = world().scene("etcd");
    let mut etcd = Etcd::start_on(scene.world.cluster.host(), &[]).unwrap();
    let own = format!("  coordination: {{type: Etcd, etcd: {{endpoints: ['{}']}}}}\n", etcd.endpoint());
    scene.apply(&scene.manifest(2, &own));
    scene.until_ready(2);
    let stream = scene.stream();
    scene.until_handled(200);
    etcd.kill9().unwrap();
    scene.until(|object| condition(object, "CoordinationReachable").0 == "False" && !ready(object));
    etcd.up().unwrap();
    scene.until(|object| condition(object, "CoordinationReachable").0 == "True" && ready(object));
    let produced = stream.end();
    scene.until_handled(produced);
    scene.assert_whole(produced);
}

#[test]
fn a_broker_that_is_away_is_told_and_the_same_workers_go_on_when_it_is_back() {
    let scene = world().scene("broker");
    let mut broker = Broker::start_with(BrokerOptions::on(scene.world.cluster.host())).unwrap();
    broker.kafka().create_topic(&scene.topic, 8, &[]).unwrap();
    let shared = scene.world.broker.kafka().bootstrap().to_owned();
    scene.apply(&scene.manifest(2, "").replace(&shared, broker.kafka().bootstrap()));
    scene.until_ready(2);
    let first = produce(&broker.kafka(), &scene.topic, 0..5);
    scene.until_handled(first);
    let pods = scene.made("pods");
    broker.kill9().unwrap();
    scene.until(|object| condition(object, "SourceReachable").0 == "False");
    broker.up().unwrap();
    let produced = first + produce(&broker.kafka(), &scene.topic, 5..10);
    scene.until_handled(produced);
    scene.until(|object| ready(object) && condition(object, "SourceReachable").0 == "True");
    scene.assert_clean(produced);
    assert_eq!(scene.made("pods"), pods);
}

/// The node is drained of the workers: one may go, the next only when another one is ready elsewhere; here is no elsewhere.
#[test]
fn a_drain_of_the_node_takes_no_more_workers_than_the_budget_allows() {
    let Some(scene) = breakable("drain") else { return };
    scene.apply(&scene.manifest(3, "  pod: {metadata: {labels: {drained: 'yes'}}}\n"));
    scene.until_ready(3);
    let stream = scene.stream();
    let drain = ["drain", "node", "--pod-selector=drained=yes", "--delete-emptydir-data", "--timeout=8s"];
    let drained = scene.world.cluster.kubectl(&drain);
    let uncordon = || scene.world.cluster.kubectl(&["uncordon", "node"]).unwrap();
    let Err(refused) = drained else {
        uncordon();
        panic!("all workers were drained");
    };
    let text = refused.to_string();
    let left = scene.kubectl(&["get", "pods", "--field-selector=status.phase=Running", "--output=name"]);
    uncordon();
    assert!(text.contains("violate the pod's disruption budget"), "{text}");
    assert!(left.lines().count() >= 2, "{left}");
    scene.until_ready(3);
    scene.until_clean(stream.end());
    wait::until("three workers", PATIENCE, || scene.made("pods").len() == 3).unwrap();
}
