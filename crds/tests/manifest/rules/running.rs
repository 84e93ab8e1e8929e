//! Rules of how workers run: execution, scaling, roll-out, pods.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.execution", "set concurrency or profile, not both")
            .accepts("execution: {concurrency: 8}")
            .accepts("execution: {profile: Compute}")
            .refuses("execution: {concurrency: 8, profile: Compute}"),
        case("spec.execution.limits.bytes", "must be between 64Ki and 1Ti").bounds(
            "execution: {limits: {bytes: {}}}",
            &["64Ki", "1M", "192Mi"],
            &["'0'", "64k", "2Ti"],
        ),
        case("spec.checkpointInterval", "must be between 100ms and 1m").bounds(
            "checkpointInterval: {}",
            &["100ms", "1s", "1m"],
            &["99ms", "61s"],
        ),
        case("spec.drainTimeout", "must be between 0s and 1h").bounds(
            "drainTimeout: {}",
            &["0s", "30s", "1h"],
            &["61m"],
        ),
        case("spec.observability.lagThreshold.age", "must be between 1s and 8760h, or empty").bounds(
            "observability: {lagThreshold: {age: {}}}",
            &["''", "1s", "5m"],
            &["999ms", "8761h"],
        ),
        case("spec.worker.maxMemory", "must be between 64Mi and 1Ti, or empty").bounds(
            "worker: {maxMemory: {}}",
            &["''", "128Mi", "1Ti"],
            &["63Mi", "2Ti"],
        ),
        case("spec", "a worker needs execution.limits.bytes + 64Mi")
            .accepts("worker: {maxMemory: 128Mi}")
            .refuses("worker: {maxMemory: 127Mi}"),
        case("spec.scaling.builtin.maxMemory", "must be between 64Mi and 1024Ti, or empty").bounds(
            "scaling: {builtin: {maxMemory: {}}}",
            &["''", "64Mi", "8Gi"],
            &["63Mi", "2000Ti"],
        ),
        case("spec.worker.maxLifetime", "must be between 1m and 8760h, or empty").bounds(
            "worker: {maxLifetime: {}}",
            &["''", "1m", "8760h"],
            &["59s", "8761h"],
        ),
    ];
    cases.extend(scaling());
    cases.extend(pods());
    cases
}

fn scaling() -> Vec<Case> {
    let at = "spec.scaling.builtin";
    let spec = "scaling: {mode: Builtin, builtin: {}}";
    vec![
        case(at, "minReplicas must not be above maxReplicas").bounds(
            spec,
            &["{}", "{minReplicas: 50}", "{minReplicas: 3, maxReplicas: 3}"],
            &["{minReplicas: 51}", "{minReplicas: 4, maxReplicas: 3}"],
        ),
        case(at, "sort the table's rows by lag").bounds(
            spec,
            &[
                "{table: [{lag: 10, replicas: 1}, {lag: 10, replicas: 2}, {lag: 500, replicas: 9}]}",
                "{table: []}",
            ],
            &["{table: [{lag: 11, replicas: 1}, {lag: 10, replicas: 2}]}"],
        ),
        case(format!("{at}.targetDrainTime"), "must be between 1s and 24h").bounds(
            "scaling: {builtin: {targetDrainTime: {}}}",
            &["1s", "60s", "24h"],
            &["999ms", "25h"],
        ),
        case(format!("{at}.scaleDownDelay"), "must be between 0s and 24h").bounds(
            "scaling: {builtin: {scaleDownDelay: {}}}",
            &["0s", "24h"],
            &["25h"],
        ),
        case("spec.rollout", "maxSurge and maxUnavailable can't both be 0")
            .accepts("rollout: {}")
            .accepts("rollout: {maxSurge: 0, maxUnavailable: 1}")
            .accepts("rollout: {maxSurge: 1, maxUnavailable: 0}")
            .accepts("rollout: {maxSurge: 10%, maxUnavailable: 10%}")
            .refuses("rollout: {maxSurge: 0}")
            .refuses("rollout: {maxSurge: 0%, maxUnavailable: 0%}")
            .refuses("rollout: {maxSurge: '0', maxUnavailable: '0'}"),
    ]
}

fn pods() -> Vec<Case> {
    let spec = "pod: {}";
    vec![
        case("spec.pod.env[]", "every variable needs a name").bounds(
            spec,
            &["{env: [{name: A, value: b}]}"],
            &["{env: [{value: b}]}"],
        ),
        case("spec.pod.volumeMounts[]", "every volume mount needs name and mountPath").bounds(
            spec,
            &["{volumeMounts: [{name: a, mountPath: /a}]}"],
            &["{volumeMounts: [{name: a}]}"],
        ),
        case("spec.pod.volumes[]", "every volume needs a name").bounds(
            spec,
            &["{volumes: [{name: a, emptyDir: {}}]}", "{volumes: [{name: a, secret: {secretName: a}}]}"],
            &["{volumes: [{emptyDir: {}}]}"],
        ),
        case("spec.pod.volumes[]", "hostPath is refused").bounds(
            spec,
            &["{volumes: [{name: a, persistentVolumeClaim: {claimName: a}}]}"],
            &["{volumes: [{name: a, hostPath: {path: /}}]}"],
        ),
        case("spec.pod.metadata.labels", "remove labels under keyweir.io/").bounds(
            "pod: {metadata: {labels: {{}: x}}}",
            &["team", "example.com/team"],
            &["keyweir.io/kind", "app.kubernetes.io/name"],
        ),
        // 2 x 64Mi + 128Mi = 256Mi.
        case("spec", "the memory limit must be at least 2 x execution.limits.bytes + 128Mi")
            .accepts("{}")
            .accepts("pod: {resources: {limits: {memory: 256Mi}}}")
            .accepts("pod: {resources: {limits: {memory: 268435456}}}")
            .accepts("pod: {resources: {limits: {cpu: 1}}}")
            .accepts("{execution: {limits: {bytes: 1Gi}}, pod: {resources: {limits: {memory: 2.2Gi}}}}")
            .refuses("pod: {resources: {limits: {memory: 255Mi}}}")
            .refuses("pod: {resources: {limits: {memory: 268435455}}}")
            .refuses("execution: {limits: {bytes: 193Mi}}"),
    ]
}
