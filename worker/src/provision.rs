//! The topics that an object wants to be made: by its meter in a cluster, by `keyweir run` elsewhere. A worker of a pod
//! makes none: there may be many of them, and each may be new.

use keyweir_contract::WorkerConfig;
use keyweir_contract::meter::Provisioning;
use keyweir_contract::source::Source;
use keyweir_contract::topics::TopicPlan;
use keyweir_engine::error_chain;
use keyweir_kafka::{Connection, Provisioned, Provisioner};

/// Makes what is missing; `None` = the object wants nothing to be made. Trouble is told, never fatal.
pub async fn provision(config: &WorkerConfig) -> Option<Provisioning> {
    let plans = &config.live.provision;
    let Source::Kafka(kafka) = &config.fixed.source else { return None };
    if plans.is_empty() {
        return None;
    }
    let connection = Connection::new(kafka.endpoint.clone(), format!("keyweir-{}", config.object.name));
    let provisioner = Provisioner::new(connection);
    let (reason, text) = provide(&provisioner, plans).await;
    Some(Provisioning { wanted: config.provision_hash(), reason: reason.to_owned(), text })
}

/// The first trouble decides; of differences all are told.
async fn provide(provisioner: &Provisioner, plans: &[TopicPlan]) -> (&'static str, String) {
    let (mut differences, mut limits) = (Vec::new(), Vec::new());
    for plan in plans {
        match provisioner.provide(plan).await {
            Ok(Provisioned::AsWanted { limited }) => limits.extend(limited),
            Ok(Provisioned::Differs { text }) => differences.push(text),
            Err(error) => return (error.reason(), error_chain(&error)),
        }
    }
    let (reason, said) = match differences.is_empty() {
        true => (Provisioning::AS_WANTED, limits),
        false => (Provisioning::MISMATCH, differences),
    };
    (reason, said.join("; "))
}
