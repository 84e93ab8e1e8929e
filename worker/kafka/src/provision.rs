//! Topics are made where they are missing. One that is there is compared with what is wanted, and never changed.
//!
//! ```text
//!  layout (topics.rs) ── missing ──▶ create_topics, with no more copies than there are brokers
//!                     └─ there ────▶ compared: partitions, copies
//! ```
//! Up: the [crate](crate).

use keyweir_contract::topics::TopicPlan;
use keyweir_engine::ports::SourceError;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use crate::cold::Cold;
use crate::config::{CALL_TIMEOUT, ConfigError, Connection};
use crate::context::Context;
use crate::error::{config_error, source_error};
use crate::topics::{self, Layout};

/// The broker's own choice of how many copies there are.
const ITS_DEFAULT: i32 = -1;

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioned {
    /// It is as wanted; where there are fewer brokers than copies were wanted, that is told.
    AsWanted {
        /// A sentence, where something was limited.
        limited: Option<String>,
    },
    /// It is there, and differs.
    Differs {
        /// A sentence with both numbers.
        text: String,
    },
}

/// Why a topic is neither made nor known.
#[derive(Debug, Error)]
pub enum ProvisionError {
    /// Nobody answers, or nobody is let in.
    #[error("failed to make topic {topic} where it is missing")]
    Source {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The broker does not make such a topic.
    #[error(
        "failed to make topic {topic}: the broker refuses its settings ({code}), change them in provision"
    )]
    Settings {
        /// The topic.
        topic: String,
        /// The broker's word.
        code: RDKafkaErrorCode,
    },
}

impl ProvisionError {
    /// The stable word for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source { source, .. } => source.reason(),
            Self::Settings { .. } => "SettingsRefused",
        }
    }
}

/// Makes topics on one cluster.
pub struct Provisioner {
    connection: Connection,
    cold: Cold,
}

impl Provisioner {
    /// Connects at the first call.
    pub fn new(connection: Connection) -> Self {
        Self { cold: Cold::new(connection.clone(), None), connection }
    }

    /// Makes the topic where it is missing, and says how it is where it is not.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses; trying again is harmless.
    pub async fn provide(&self, plan: &TopicPlan) -> Result<Provisioned, ProvisionError> {
        let (what, name) = (format!("topic {}", plan.topic), plan.topic.clone());
        let layout = self.cold.call(what, move |client| topics::layout(client, &name));
        let layout = layout.await.map_err(|source| failed(plan, source))?;
        if layout.partitions == 0 {
            self.make(plan, layout.brokers).await?;
        }
        Ok(compare(plan, layout))
    }

    async fn make(&self, plan: &TopicPlan, brokers: u32) -> Result<(), ProvisionError> {
        let admin = self.admin().map_err(|source| failed(plan, source))?;
        let copies = copies(plan, brokers);
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let insync = plan.min_insync_replicas.map(|least| copies.map_or(least, |copies| least.min(copies)));
        let insync = insync.map(|least| least.to_string());
        let mut topic = NewTopic::new(
            &plan.topic,
            number(plan.partitions),
            TopicReplication::Fixed(copies.map_or(ITS_DEFAULT, number)),
        );
        for (name, value) in &plan.config {
            topic = topic.set(name, value);
        }
        if let Some(least) = &insync {
            topic = topic.set("min.insync.replicas", least);
        }
        let options =
            AdminOptions::new().request_timeout(Some(CALL_TIMEOUT)).operation_timeout(Some(CALL_TIMEOUT));
        let what = format!("topic {}", plan.topic);
        let answers = admin.create_topics(&[topic], &options).await;
        let answers = answers.map_err(|error| failed(plan, source_error(what.as_str(), error)))?;
        for answer in answers {
            match answer {
                Ok(_) => tracing::info!(topic = plan.topic, partitions = plan.partitions, "topic made"),
                // Somebody was faster: the next look compares.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) if is_about_settings(code) => {
                    return Err(ProvisionError::Settings { topic: plan.topic.clone(), code });
                }
                Err((_, code)) => {
                    return Err(failed(plan, source_error(what.as_str(), KafkaError::AdminOp(code))));
                }
            }
        }
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<Context>, SourceError> {
        let cluster = self.connection.name();
        let made = self.connection.cold(None).and_then(|config| {
            let made = config.create_with_context(Context::default());
            made.map_err(|source| ConfigError::Client { cluster: cluster.clone(), source })
        });
        made.map_err(|error| config_error(cluster.as_str(), error))
    }
}

fn failed(plan: &TopicPlan, source: SourceError) -> ProvisionError {
    ProvisionError::Source { topic: plan.topic.clone(), source }
}

/// What a person has to change in the plan.
fn is_about_settings(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidTopic
            | Code::InvalidRequest
            | Code::PolicyViolation
    )
}

/// Copies of each partition, as far as there are brokers for them; `None`: the broker's own choice.
fn copies(plan: &TopicPlan, brokers: u32) -> Option<u32> {
    plan.replication_factor.map(|wanted| wanted.min(brokers.max(1)))
}

/// One that was missing is as wanted by now.
fn compare(plan: &TopicPlan, found: Layout) -> Provisioned {
    let TopicPlan { topic, partitions, replication_factor, .. } = plan;
    let copies = copies(plan, found.brokers);
    let mut differences = Vec::new();
    if found.partitions > 0 && found.partitions != *partitions {
        differences.push(format!("{} partitions, {partitions} are wanted", found.partitions));
    }
    if let Some(wanted) = copies.filter(|wanted| found.partitions > 0 && found.copies != *wanted) {
        differences.push(format!("{} copies of each partition, {wanted} are wanted", found.copies));
    }
    if !differences.is_empty() {
        let text = format!("topic {topic} has {}: it is left as it is", differences.join(", and "));
        return Provisioned::Differs { text };
    }
    let limited =
        replication_factor.filter(|wanted| copies.is_some_and(|copies| copies < *wanted)).map(|wanted| {
            format!("topic {topic} has {} of {wanted} copies: there are no more brokers", found.brokers)
        });
    Provisioned::AsWanted { limited }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(partitions: u32, copies: Option<u32>) -> TopicPlan {
        TopicPlan {
            topic: "orders".to_owned(),
            partitions,
            replication_factor: copies,
            min_insync_replicas: None,
            config: Default::default(),
        }
    }

    fn found(brokers: u32, partitions: u32, copies: u32) -> Layout {
        Layout { brokers, partitions, copies }
    }

    #[test]
    fn a_topic_that_differs_is_told_with_both_numbers() {
        let said = |plan: &TopicPlan, layout| match compare(plan, layout) {
            Provisioned::Differs { text } => text,
            Provisioned::AsWanted { limited } => limited.unwrap_or_default(),
        };
        assert_eq!(said(&plan(8, Some(3)), found(3, 8, 3)), "");
        assert_eq!(said(&plan(8, None), found(3, 8, 3)), "", "what nobody wants can't differ");
        let text = said(&plan(8, Some(2)), found(3, 4, 3));
        assert_eq!(
            text,
            "topic orders has 4 partitions, 8 are wanted, and 3 copies of each partition, 2 are wanted: it is left as it is"
        );
    }

    #[test]
    fn copies_are_limited_by_the_brokers_and_that_is_told_and_no_difference() {
        let plan = plan(8, Some(3));
        assert_eq!((copies(&plan, 1), copies(&plan, 5)), (Some(1), Some(3)));
        let limited = "topic orders has 1 of 3 copies: there are no more brokers".to_owned();
        assert_eq!(compare(&plan, found(1, 8, 1)), Provisioned::AsWanted { limited: Some(limited.clone()) });
        assert_eq!(
            compare(&plan, found(1, 0, 0)),
            Provisioned::AsWanted { limited: Some(limited) },
            "just made"
        );
        assert!(
            matches!(compare(&plan, found(3, 8, 1)), Provisioned::Differs { .. }),
            "there are brokers by now"
        );
    }
}
