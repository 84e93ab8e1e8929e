//! Topics that are made where they are missing, wherever a spec names one.

use keyweir_contract::topics::TopicPlan;
use keyweir_crds::StreamConsumerSpec;
use keyweir_crds::provision::ProvisionSpec;
use keyweir_crds::quantities::TopicName;

use super::Lowering;
use crate::mistakes::Mistake;

/// A topic, and where the spec says how it is made.
struct Asked<'a> {
    field: String,
    topic: &'a TopicName,
    provision: &'a ProvisionSpec,
}

impl Lowering<'_> {
    /// Each topic once. The embedded log makes its own.
    pub(super) fn provision(&mut self, spec: &StreamConsumerSpec) -> Vec<TopicPlan> {
        let replaced = self.environment.as_local().is_some_and(|local| local.embedded);
        if replaced || spec.source.kafka.is_none() {
            return Vec::new();
        }
        let mut plans: Vec<TopicPlan> = Vec::new();
        for Asked { field, topic, provision } in asked(spec) {
            let plan = plan(topic, provision);
            match plans.iter().find(|known| known.topic == plan.topic) {
                None => plans.push(plan),
                Some(known) if *known == plan => {}
                Some(_) => {
                    let topic = &plan.topic;
                    let text = format!(
                        "topic {topic} is made in another way elsewhere: say the same in both places"
                    );
                    self.mistakes.push(Mistake::new(field, text));
                }
            }
        }
        plans
    }
}

fn asked(spec: &StreamConsumerSpec) -> Vec<Asked<'_>> {
    let mut asked = Vec::new();
    if let Some(kafka) = &spec.source.kafka {
        for topic in &kafka.topics {
            asked.extend(asks("spec.source.kafka.provision".to_owned(), topic, kafka.provision.as_ref()));
        }
    }
    for (place, output) in spec.outputs.iter().enumerate() {
        let field = format!("spec.outputs[{place}].kafka.provision");
        asked.extend(asks(field, &output.kafka.topic, output.kafka.provision.as_ref()));
    }
    let ends = [
        ("onExhausted", spec.on_exhausted.as_ref().and_then(|end| end.dead_letter.as_ref())),
        ("onUndecodable", spec.on_undecodable.as_ref().and_then(|end| end.dead_letter.as_ref())),
        ("onUnknown", spec.on_unknown.dead_letter.as_ref()),
    ];
    for (name, letter) in ends {
        if let Some(letter) = letter {
            let field = format!("spec.{name}.deadLetter.provision");
            asked.extend(asks(field, &letter.topic, letter.provision.as_ref()));
        }
    }
    asked
}

fn asks<'a>(field: String, topic: &'a TopicName, provision: Option<&'a ProvisionSpec>) -> Option<Asked<'a>> {
    provision.map(|provision| Asked { field, topic, provision })
}

fn plan(topic: &TopicName, provision: &ProvisionSpec) -> TopicPlan {
    let ProvisionSpec { partitions, replication_factor, min_insync_replicas, config } = provision.clone();
    TopicPlan {
        topic: topic.as_str().to_owned(),
        partitions,
        replication_factor,
        min_insync_replicas,
        config,
    }
}
