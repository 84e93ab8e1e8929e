//! When a worker is started, alive and ready. Liveness never depends on a broker, an etcd or a handler.

use k8s_openapi::{
    api::core::v1::{HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::HTTP_PORT_NAME;

/// The three probes of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Probes {
    /// Asked until it succeeds once; the others wait for it.
    pub startup: Probe,
    /// A container that fails it is replaced.
    pub liveness: Probe,
    /// A pod that fails it does not count as available.
    pub readiness: Probe,
}

/// The worker's probes: two minutes to start, half a minute of silence before it is replaced.
pub fn worker() -> Probes {
    Probes {
        startup: Probe { period_seconds: Some(1), failure_threshold: Some(120), ..get("/livez") },
        liveness: Probe { period_seconds: Some(10), failure_threshold: Some(3), ..get("/livez") },
        readiness: Probe { period_seconds: Some(2), failure_threshold: Some(2), ..get("/readyz") },
    }
}

fn get(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HTTP_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
