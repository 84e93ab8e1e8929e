//! What is killed: a worker's pod, the operator, a handler's container. Nothing is lost, and it comes back by itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keyweir_e2e::cluster::condition;
use keyweir_e2e::wait;
use serde_json::Value;

use crate::world::{PATIENCE, SYSTEM, ready, world};

#[test]
fn a_pod_that_is_killed_costs_no_record_and_no_order() {
    let scene = world().scene("killed");
    scene.apply(&scene.manifest(2, ""));
    scene.until_ready(2);
    let stream = scene.stream();
    scene.until_handled(400);
    let victim = scene.made("pods").remove(0);
    scene.kubectl(&["delete", &victim, "--grace-period=0", "--force"]);
    wait::until("another pod", PATIENCE, || {
        let pods = scene.made("pods");
        pods.len() == 2 && !pods.contains(&victim)
    })
    .unwrap();
    scene.until_ready(2);
    let produced = stream.end();
    scene.until_handled(produced);
    scene.assert_whole(produced);
}

/// The grace is used: what executes is finished or handed over, and nothing comes twice.
#[test]
fn a_pod_that_is_deleted_with_grace_repeats_nothing() {
    let scene = world().scene("graceful");
    scene.apply(&scene.manifest(2, ""));
    scene.until_ready(2);
    let stream = scene.stream();
    scene.until_handled(400);
    let pods = scene.made("pods");
    for pod in &pods {
        scene.kubectl(&["delete", pod]);
        scene.until_ready(2);
    }
    scene.until_replaced(&pods, 2);
    scene.until_clean(stream.end());
}

#[test]
fn an_operator_that_is_killed_goes_on_where_it_was() {
    let scene = world().scene("operator");
    scene.apply(&scene.manifest(1, ""));
    scene.until_ready(1);
    let cluster = &scene.world.cluster;
    let operator =
        ["--namespace", SYSTEM, "delete", "pods", "--selector=app.kubernetes.io/name=keyweir-operator"];
    cluster.kubectl(&[&operator[..], &["--grace-period=0", "--force"]].concat()).unwrap();
    // Nobody is there to see it now.
    scene.kubectl(&["scale", "stc/orders", "--replicas=2"]);
    scene.until_ready(2);
    let printed = ["--namespace", SYSTEM, "rollout", "status", "deployment/keyweir", "--timeout=120s"];
    cluster.kubectl(&printed).unwrap();
}

#[test]
fn a_handler_that_crashes_in_its_container_is_waited_for_by_a_worker_that_stays() {
    let scene = world().scene("crash");
    let reports = scene.world.witness.url();
    let http = format!("http: {{url: '{reports}'}}");
    let image = format!("localhost/keyweir-test-handler:{}", env!("CARGO_PKG_VERSION"));
    let container = format!(
        "container: {{image: '{image}', imagePullPolicy: Never, env: [{{name: REPORT_URL, value: '{reports}'}}]}}"
    );
    scene.apply(&scene.manifest(1, "  retry: {maxAttempts: 100, maxDelay: 1s}\n").replace(&http, &container));
    scene.until_ready(1);
    let stream = scene.stream();
    scene.until_handled(200);
    for crashes in 1..=2 {
        crash(&pod(&scene.kubectl(&["get", "pods", "--output", "json"])));
        wait::until("a restarted handler", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(200));
            let pod = pod(&scene.kubectl(&["get", "pods", "--output", "json"]));
            let handler = &pod["status"]["initContainerStatuses"][0];
            handler["restartCount"].as_i64() >= Some(crashes) && handler["ready"] == true
        })
        .unwrap();
    }
    let produced = stream.end();
    scene.until_handled(produced);
    scene.assert_whole(produced);
    scene.until(|object| ready(object) && condition(object, "HandlerHealthy").0 == "True");
    let pod = pod(&scene.kubectl(&["get", "pods", "--output", "json"]));
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "the worker survives its handler");
}

/// The one pod of a list.
fn pod(list: &str) -> Value {
    let list: Value = serde_json::from_str(list).unwrap();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    list["items"][0].clone()
}

/// Ends the handler of a pod in the middle of whatever it does.
fn crash(pod: &Value) {
    let address = format!("{}:8080", pod["status"]["podIP"].as_str().unwrap());
    let mut connection = TcpStream::connect(&address).unwrap();
    write!(connection, "POST /crash HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n").unwrap();
    // It ends without an answer.
    let _ = connection.read(&mut [0; 64]);
}
