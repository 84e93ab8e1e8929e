//! README.md: from an empty cluster to a scaled consumer in ten commands, each run exactly as it is printed.
//!
//! Its own installation stands in the way of the other tests' and theirs in its: it begins by removing what there is, and
//! ends by removing what it made.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what did not hold")]

use std::fs;
use std::time::{Duration, Instant};

use keyweir_e2e::cache;
use keyweir_e2e::cluster::{Cluster, condition};
use keyweir_e2e::source::workspace_root;

const SYSTEM: &str = "keyweir-system";
/// Long enough for a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(120);

/// The commands, by a word that only their block has.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(workspace_root().join("README.md")).unwrap();
    let mut blocks = readme.split("```\n");
    let block = blocks.find(|block| block.contains("first-look.yaml") && block.starts_with("helm ")).unwrap();
    let joined = block.replace("\\\n", " ");
    joined.lines().map(ToOwned::to_owned).collect()
}

/// Removes whatever an earlier run has installed.
fn clear(cluster: &Cluster) {
    for line in [
        "kubectl delete --ignore-not-found -f config/samples/first-look.yaml --timeout=60s || true",
        "kubectl delete pod send --ignore-not-found --now",
        "helm uninstall keyweir --namespace keyweir-system --ignore-not-found --wait",
        "helm uninstall keyweir-crds --ignore-not-found --wait",
        "kubectl delete namespace keyweir-system --ignore-not-found --timeout=120s",
        "kubectl delete crd streamconsumers.keyweir.io --ignore-not-found --timeout=120s",
    ] {
        cluster.type_in(line).unwrap();
    }
}

#[test]
fn ten_commands_lead_from_an_empty_cluster_to_a_scaled_consumer() {
    let _turn = cache::lock("cluster-tests").unwrap();
    let cluster = Cluster::get().unwrap();
    cluster.images().unwrap();
    clear(&cluster);
    let commands = commands();
    assert_eq!(commands.len(), 10, "{commands:#?}");
    let mut said = String::new();
    for command in &commands {
        let began = Instant::now();
        said = cluster.type_in(command).unwrap_or_else(|error| {
            let look = "kubectl get pods --all-namespaces; kubectl describe stc,pods; \
                        kubectl logs --namespace keyweir-system deployment/keyweir --tail=20";
            panic!("{command}\n{error}\n{}", cluster.type_in(look).unwrap_or_else(|error| error.to_string()))
        });
        println!("$ {command}    # {:.1} s\n{said}", began.elapsed().as_secs_f64());
    }
    assert!(said.contains("Ready") && said.contains("orders"), "the last command shows the object: {said}");

    let sent = fs::read_to_string(workspace_root().join("e2e/data/orders.jsonl")).unwrap().lines().count();
    let object = cluster
        .until("default", &["streamconsumer", "orders"], PATIENCE, |object| {
            object["status"]["lag"]["records"] == 0 && object["status"]["readyReplicas"] == 4
        })
        .unwrap();
    assert_eq!(condition(&object, "Ready").0, "True");
    assert_eq!(condition(&object, "Provisioned"), ("True".to_owned(), "AsWanted".to_owned()));
    assert_eq!(object["status"]["shards"]["owned"], 8);
    assert_eq!(sent, 4000);
    cluster.kubectl(&["delete", "stc/orders", "--timeout=60s"]).unwrap();
    assert!(cluster.kubectl(&["get", "namespace", SYSTEM]).is_ok());
    clear(&cluster);
}
