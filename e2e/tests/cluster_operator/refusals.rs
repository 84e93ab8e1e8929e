//! Wrong manifests: what `kubectl apply` answers. Each message says what to do instead.

use keyweir_e2e::cluster::ClusterError;

use crate::world::world;

/// What is wrong, where it stands in the spec, and a part of the answer.
const MISTAKES: [(&str, &str); 16] = [
    ("replicas: -1", "should be greater than or equal to 0"),
    ("ordering: Sideways", r#"supported values: "Key", "Partition", "None""#),
    ("replica: 2", r#"unknown field "spec.replica""#),
    ("routing: Key\n  ordering: None", "set ordering: Key or routing: Partition"),
    ("coordination: {type: None}\n  replicas: 2", "set replicas to 0 or 1, or coordination.type: Etcd"),
    ("coordination: {type: Etcd, memberTTL: 1s}", "2s"),
    ("key: {from: Header}", "set header together with from: Header"),
    ("key: {from: JSONPointer, jsonPointer: /id}", "set decode.format: JSON"),
    ("execution: {concurrency: 4, profile: Compute}", "set concurrency or profile, not both"),
    ("execution: {limits: {bytes: 1Gi}}", "raise pod.resources.limits.memory"),
    ("onExhausted: {action: DeadLetter}", "add deadLetter.topic"),
    ("onExhausted: {deadLetter: {topic: TOPIC}}", "name a topic that is not among the source's topics"),
    (
        "scaling: {mode: Builtin, builtin: {minReplicas: 5, maxReplicas: 2}}",
        "minReplicas must not be above maxReplicas",
    ),
    ("rollout: {maxSurge: 0, maxUnavailable: 0}", "nothing could be replaced"),
    ("pod: {volumes: [{name: host, hostPath: {path: /}}]}", "hostPath is refused"),
    ("drainTimeout: soon", "drainTimeout"),
];

#[test]
fn wrong_manifests_are_refused_with_what_to_do_instead() {
    let scene = world().scene("wrong");
    for (mistake, answer) in MISTAKES {
        let mistake = mistake.replace("TOPIC", &scene.topic);
        let rest = if mistake.contains("replicas") { "" } else { "  replicas: 1\n" };
        let manifest = scene.manifest(1, "").replace("  replicas: 1\n", rest) + &format!("  {mistake}\n");
        match scene.world.cluster.apply(scene.namespace(), &manifest) {
            Err(ClusterError::Refused { answer: said, .. }) => {
                assert!(said.contains(answer), "{mistake}: expected {answer:?} in {said}");
            }
            other => panic!("{mistake}: {other:?}"),
        }
    }
}

#[test]
fn what_can_not_change_is_refused_when_it_does() {
    let scene = world().scene("fixed");
    let manifest = scene.manifest(0, "");
    scene.apply(&manifest);
    let regrouped = manifest.replace(&scene.group, "another");
    match scene.world.cluster.apply(scene.namespace(), &regrouped) {
        Err(ClusterError::Refused { answer, .. }) => {
            assert!(answer.contains("create a new StreamConsumer"), "{answer}")
        }
        other => panic!("{other:?}"),
    }
    let ready = scene.until(crate::world::ready);
    assert_eq!(keyweir_e2e::cluster::condition(&ready, "Ready").1, "ScaledToZero");
}
