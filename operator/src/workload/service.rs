//! The headless service: a name for each pod, for metrics and for members that speak to each other.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{HTTP_PORT, HTTP_PORT_NAME};
use crate::cluster::owner::Owner;

/// The service. Pods are named before they are ready: a member must be found while it starts and drains.
pub fn service(owner: &Owner) -> Service {
    Service {
        metadata: owner.metadata(),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(owner.labels.selected()),
            publish_not_ready_addresses: Some(true),
            ports: Some(vec![port()]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The port of all that the operator makes.
pub fn port() -> ServicePort {
    ServicePort {
        name: Some(HTTP_PORT_NAME.to_owned()),
        port: HTTP_PORT.into(),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(HTTP_PORT_NAME.to_owned())),
        ..ServicePort::default()
    }
}
