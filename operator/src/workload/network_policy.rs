//! Who may reach the pods of an owner, where the installation limits that. What they may reach is not limited: their
//! handlers, brokers and stores may be anywhere.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use keyweir_contract::source::PEER_PORT;

use super::HTTP_PORT;
use crate::cluster::labels::Labels;

/// Those who may ask for health, metrics and lag reach that port; members reach each other, where they speak. The
/// kubelet's probes come from the node, which no policy shuts out.
pub fn network_policy(
    metadata: ObjectMeta,
    labels: &Labels,
    from: &[NetworkPolicyPeer],
    speaks: bool,
) -> NetworkPolicy {
    let mut ingress = vec![rule(from.to_vec(), HTTP_PORT)];
    if speaks {
        let own = NetworkPolicyPeer { pod_selector: Some(labels.selector()), ..NetworkPolicyPeer::default() };
        ingress.push(rule(vec![own], PEER_PORT));
    }
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels.selector()),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn rule(from: Vec<NetworkPolicyPeer>, port: u16) -> NetworkPolicyIngressRule {
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![port]) }
}
