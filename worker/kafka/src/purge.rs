//! What a deleted object leaves in a cluster, removed: its group with the offsets, and its topic of parked records.
//! Asked once, by nobody who works. Up: the [crate](crate).

use keyweir_engine::ports::SourceError;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::{CALL_TIMEOUT, ConfigError, Connection};
use crate::context::Context;
use crate::error::{config_error, source_error};
use crate::parked::parked_topic;

/// Deletes the group and its topic of parked records; what is not there is no error.
///
/// # Errors
/// When the cluster refuses or does not answer: then some of it may be left.
pub async fn purge(connection: &Connection, group: &str) -> Result<(), SourceError> {
    let what = format!("group {group}");
    let admin: AdminClient<Context> = connection
        .cold(None)
        .and_then(|config| {
            let cluster = connection.name();
            let made = config.create_with_context(Context::default());
            made.map_err(|source| ConfigError::Client { cluster, source })
        })
        .map_err(|error| config_error(what.as_str(), error))?;
    let options =
        AdminOptions::new().request_timeout(Some(CALL_TIMEOUT)).operation_timeout(Some(CALL_TIMEOUT));
    let failed = |error| source_error(what.as_str(), error);
    let topic = parked_topic(group);
    for gone in admin.delete_topics(&[&topic], &options).await.map_err(failed)? {
        done(gone, RDKafkaErrorCode::UnknownTopicOrPartition).map_err(failed)?;
    }
    for gone in admin.delete_groups(&[group], &options).await.map_err(failed)? {
        done(gone, RDKafkaErrorCode::GroupIdNotFound).map_err(failed)?;
    }
    Ok(())
}

fn done(
    gone: Result<String, (String, RDKafkaErrorCode)>,
    absent: RDKafkaErrorCode,
) -> Result<(), KafkaError> {
    match gone {
        Err((_, code)) if code != absent => Err(KafkaError::AdminOp(code)),
        _ => Ok(()),
    }
}
