//! The handler's container beside the worker: a native sidecar, started before the worker and ended after it.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EnvFromSource, EnvVar, Probe, SecurityContext, TCPSocketAction, VolumeMount,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use keyweir_crds::handler::ContainerHandlerSpec;

use super::{
    overrides::{self, OverrideError, list, one},
    pod::container_security,
};

/// The handler's container.
pub const HANDLER: &str = "handler";

/// The container that `spec` describes.
///
/// It restarts by itself and the worker survives that. As long as it is not ready the pod is not ready either.
pub fn container(spec: &ContainerHandlerSpec) -> Result<Container, OverrideError> {
    let probe = |field: &str, part: &Option<_>| {
        part.as_ref()
            .map(|part| one::<Probe>(format!("handler.container.{field}"), "Probe", part))
            .transpose()
    };
    let readiness = probe("readinessProbe", &spec.readiness_probe)?;
    Ok(Container {
        name: HANDLER.to_owned(),
        image: Some(spec.image.clone()),
        image_pull_policy: spec.image_pull_policy.map(overrides::pull_policy),
        command: (!spec.command.is_empty()).then(|| spec.command.clone()),
        args: (!spec.args.is_empty()).then(|| spec.args.clone()),
        restart_policy: Some("Always".to_owned()),
        env: Some(list::<EnvVar>("handler.container.env", "EnvVar", &spec.env)?),
        env_from: Some(list::<EnvFromSource>("handler.container.envFrom", "EnvFromSource", &spec.env_from)?),
        ports: Some(vec![ContainerPort {
            name: Some(HANDLER.to_owned()),
            container_port: i32::from(spec.port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: spec.resources.as_ref().map(overrides::resources),
        readiness_probe: Some(readiness.unwrap_or_else(|| accepts_connections(spec.port))),
        liveness_probe: probe("livenessProbe", &spec.liveness_probe)?,
        startup_probe: probe("startupProbe", &spec.startup_probe)?,
        security_context: Some(security(spec)?),
        volume_mounts: Some(list::<VolumeMount>(
            "handler.container.volumeMounts",
            "VolumeMount",
            &spec.volume_mounts,
        )?),
        ..Container::default()
    })
}

fn accepts_connections(port: u16) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::Int(i32::from(port)),
            ..TCPSocketAction::default()
        }),
        period_seconds: Some(2),
        failure_threshold: Some(2),
        ..Probe::default()
    }
}

/// What the user says, and for the rest as little as the worker has.
fn security(spec: &ContainerHandlerSpec) -> Result<SecurityContext, OverrideError> {
    let least = container_security();
    let Some(part) = &spec.security_context else { return Ok(least) };
    let user: SecurityContext = one("handler.container.securityContext".to_owned(), "SecurityContext", part)?;
    Ok(SecurityContext {
        allow_privilege_escalation: least.allow_privilege_escalation,
        read_only_root_filesystem: user.read_only_root_filesystem.or(least.read_only_root_filesystem),
        capabilities: user.capabilities.or(least.capabilities),
        ..user
    })
}
