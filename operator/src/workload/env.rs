//! What a worker learns of its own pod, by the downward API.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Name, uid, namespace and address of the pod and the container's CPU request, as the worker's command line expects
/// them. A limit the worker sees by itself; a request it would have to guess from shares.
pub fn downward() -> Vec<EnvVar> {
    let fields = [
        ("POD_NAME", "metadata.name"),
        ("POD_UID", "metadata.uid"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_IP", "status.podIP"),
    ];
    let field = |path: &str| EnvVarSource {
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: path.to_owned(),
        }),
        ..EnvVarSource::default()
    };
    let mut variables: Vec<EnvVar> = fields.map(|(name, path)| variable(name, field(path))).into();
    variables.push(variable("KEYWEIR_CPU_REQUEST", cpu_request()));
    variables
}

/// In thousandths; 0 where the container has none.
fn cpu_request() -> EnvVarSource {
    EnvVarSource {
        resource_field_ref: Some(ResourceFieldSelector {
            resource: "requests.cpu".to_owned(),
            divisor: Some(Quantity("1m".to_owned())),
            ..ResourceFieldSelector::default()
        }),
        ..EnvVarSource::default()
    }
}

fn variable(name: &str, from: EnvVarSource) -> EnvVar {
    EnvVar { name: name.to_owned(), value_from: Some(from), ..EnvVar::default() }
}
