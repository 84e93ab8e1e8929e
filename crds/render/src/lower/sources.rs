//! Where records come from and where members meet.

use keyweir_contract::endpoints::{EtcdEndpoint, KafkaEndpoint, Sasl};
use keyweir_contract::keys::ObjectPrefix;
use keyweir_contract::policy::Routing;
use keyweir_contract::source::{
    Coordination, EmbeddedSource, EtcdCoordination, EtcdSource, KafkaSource, PEER_PORT, PeerWire, Placement,
    Source, StartAt,
};
use keyweir_contract::worker_config::ObjectIdentity;
use keyweir_crds::StreamConsumerSpec;
use keyweir_crds::coordination::{CoordinationSpec, CoordinationType};
use keyweir_crds::source::{
    EmbeddedSourceSpec, EtcdSourceSpec, KafkaSourceSpec, RetentionSpec, StartAtSpec, StartPosition,
};

use super::Lowering;
use crate::mistakes::Mistake;

/// Partitions of an embedded topic that stands in for a Kafka topic.
const PARTITIONS: u32 = 8;

impl Lowering<'_> {
    pub(super) fn source(&mut self, spec: &StreamConsumerSpec, identity: &ObjectIdentity) -> Source {
        if let Some(kafka) = &spec.source.kafka {
            let replaced = self.environment.as_local().is_some_and(|local| local.embedded);
            return if replaced { self.stand_in(kafka) } else { self.kafka(kafka) };
        }
        if let Some(etcd) = &spec.source.etcd {
            return self.etcd(etcd);
        }
        let none = || {
            Source::Embedded(EmbeddedSource {
                topics: Vec::new(),
                group: String::new(),
                partitions: 1,
                start_at: StartAt::Earliest,
                retention_age: std::time::Duration::ZERO,
                retention_bytes: keyweir_contract::ByteSize::new(0),
            })
        };
        spec.source.embedded.as_ref().map_or_else(none, |embedded| self.embedded(embedded, identity))
    }

    fn kafka(&mut self, spec: &KafkaSourceSpec) -> Source {
        const FIELD: &str = "spec.source.kafka";
        let endpoint = KafkaEndpoint {
            bootstrap_servers: spec
                .bootstrap_servers
                .iter()
                .map(|server| server.as_str().to_owned())
                .collect(),
            tls: spec.tls.as_ref().map(|tls| self.files.tls(&format!("{FIELD}.tls"), tls)),
            sasl: spec.sasl.as_ref().map(|sasl| Sasl {
                mechanism: sasl.mechanism,
                login: self.files.sasl_login(&format!("{FIELD}.sasl"), sasl),
            }),
            properties: spec.properties.clone(),
        };
        let interval = spec.partition_discovery_interval.as_str();
        Source::Kafka(KafkaSource {
            endpoint,
            topics: names(&spec.topics),
            group: spec.group.clone(),
            start_at: self.start_at(&format!("{FIELD}.startAt"), &spec.start_at),
            partition_discovery_interval: self
                .duration(&format!("{FIELD}.partitionDiscoveryInterval"), interval),
        })
    }

    /// The embedded log with the topics of a Kafka source (`--embedded`).
    fn stand_in(&mut self, spec: &KafkaSourceSpec) -> Source {
        let retention = RetentionSpec::default();
        Source::Embedded(EmbeddedSource {
            topics: names(&spec.topics),
            group: spec.group.clone(),
            partitions: PARTITIONS,
            start_at: self.start_at("spec.source.kafka.startAt", &spec.start_at),
            retention_age: self.duration("retention.age", retention.age.as_str()),
            retention_bytes: self.bytes("retention.bytes", retention.bytes.as_str()),
        })
    }

    fn embedded(&mut self, spec: &EmbeddedSourceSpec, identity: &ObjectIdentity) -> Source {
        const FIELD: &str = "spec.source.embedded";
        Source::Embedded(EmbeddedSource {
            topics: names(&spec.topics),
            group: spec.group.clone().unwrap_or_else(|| identity.name.clone()),
            partitions: spec.partitions,
            start_at: self.start_at(&format!("{FIELD}.startAt"), &spec.start_at),
            retention_age: self.duration(&format!("{FIELD}.retention.age"), spec.retention.age.as_str()),
            retention_bytes: self.bytes(&format!("{FIELD}.retention.bytes"), spec.retention.bytes.as_str()),
        })
    }

    fn etcd(&mut self, spec: &EtcdSourceSpec) -> Source {
        const FIELD: &str = "spec.source.etcd";
        let endpoint = EtcdEndpoint {
            endpoints: spec.endpoints.iter().map(|url| url.as_str().to_owned()).collect(),
            tls: spec.tls.as_ref().map(|tls| self.files.tls(&format!("{FIELD}.tls"), tls)),
            login: spec.auth.as_ref().map(|auth| self.files.etcd_login(&format!("{FIELD}.auth"), auth)),
        };
        Source::Etcd(EtcdSource {
            endpoint,
            paths: spec.paths.clone(),
            slots: spec.slots,
            delivery: spec.delivery,
            start_at: spec.start_at,
            page_size: spec.page_size,
            watch_buffer: spec.watch_buffer,
        })
    }

    /// `Etcd` where the object or the installation says so; one process on the embedded log needs none.
    pub(super) fn coordination(&mut self, spec: &StreamConsumerSpec) -> Coordination {
        let replaced = self.environment.as_local().is_some_and(|local| local.embedded);
        if replaced || spec.source.embedded.is_some() {
            return Coordination::None;
        }
        let coordination = match &spec.coordination {
            Some(CoordinationSpec { kind: CoordinationType::None, .. }) => Coordination::None,
            Some(given) => self.given_coordination(given),
            None => match &self.environment.coordination {
                Some(default) => Coordination::Etcd(Box::new(default.clone())),
                None => Coordination::None,
            },
        };
        match coordination {
            // An installation's default comes past the rules of the definition.
            Coordination::Etcd(etcd)
                if spec.routing == Routing::Key && etcd.placement == Placement::Static =>
            {
                let text =
                    "it goes to whoever is there: set coordination.placement: Dynamic or routing: Partition";
                self.mistakes.push(Mistake::new("spec.routing", text));
                Coordination::Etcd(etcd)
            }
            Coordination::Etcd(etcd) if spec.routing == Routing::Key => {
                let peer = self
                    .files
                    .wire()
                    .map(|secret_file| PeerWire { listen: format!("0.0.0.0:{PEER_PORT}"), secret_file });
                Coordination::Etcd(Box::new(EtcdCoordination { peer, ..*etcd }))
            }
            other => other,
        }
    }

    fn given_coordination(&mut self, spec: &CoordinationSpec) -> Coordination {
        const FIELD: &str = "spec.coordination";
        let member_ttl = self.duration(&format!("{FIELD}.memberTTL"), spec.member_ttl.as_str());
        let (placement, default) = (spec.placement, self.environment.coordination.clone());
        let Some(etcd) = &spec.etcd else {
            return match default {
                Some(default) => {
                    Coordination::Etcd(Box::new(EtcdCoordination { member_ttl, placement, ..default }))
                }
                None => {
                    let text = "this installation names no etcd: add coordination.etcd with its endpoints";
                    self.mistakes.push(Mistake::new(format!("{FIELD}.etcd"), text));
                    Coordination::None
                }
            };
        };
        let endpoint = EtcdEndpoint {
            endpoints: etcd.endpoints.iter().map(|url| url.as_str().to_owned()).collect(),
            tls: etcd.tls.as_ref().map(|tls| self.files.tls(&format!("{FIELD}.etcd.tls"), tls)),
            login: etcd.auth.as_ref().map(|auth| self.files.etcd_login(&format!("{FIELD}.etcd.auth"), auth)),
        };
        Coordination::Etcd(Box::new(EtcdCoordination {
            endpoint,
            prefix: etcd.prefix.clone(),
            member_ttl,
            placement,
            peer: None,
        }))
    }

    /// Control keys change with every checkpoint: a path that held them would never come to rest. The servers are not
    /// compared, since one cluster has many names.
    pub(super) fn keep_apart(
        &mut self,
        source: &Source,
        coordination: &Coordination,
        identity: &ObjectIdentity,
    ) {
        let (Source::Etcd(source), Coordination::Etcd(members)) = (source, coordination) else {
            return;
        };
        let prefix = members.prefix.trim_matches('/');
        let control = match prefix {
            "" => ObjectPrefix::new("", &identity.namespace, &identity.name).as_str().to_owned(),
            prefix => format!("/{prefix}/"),
        };
        for (place, path) in source.paths.iter().enumerate() {
            let own = format!("{path}/");
            if own.starts_with(&control) || control.starts_with(&own) {
                let text = format!(
                    "members meet below {control}: use another path, or another coordination.etcd.prefix"
                );
                self.mistakes.push(Mistake::new(format!("spec.source.etcd.paths[{place}]"), text));
            }
        }
    }

    /// Members in pods have no data directory, and an etcd source has no topic: nothing could be kept aside.
    pub(super) fn find_places_to_park(
        &mut self,
        source: &Source,
        coordination: &Coordination,
        parks: &[(&str, bool)],
    ) {
        let nowhere = self.environment.as_local().is_none()
            && matches!((source, coordination), (Source::Etcd(_), Coordination::Etcd(_)));
        for (field, _) in parks.iter().filter(|(_, parks)| nowhere && *parks) {
            let text = "workers of an etcd source that meet in etcd have no place to park records, which is what they \
                        do unless told otherwise: set action: Skip or action: Stop";
            self.mistakes.push(Mistake::new(*field, text));
        }
    }

    fn start_at(&mut self, field: &str, spec: &StartAtSpec) -> StartAt {
        match spec.position {
            StartPosition::Earliest => StartAt::Earliest,
            StartPosition::Latest => StartAt::Latest,
            StartPosition::Timestamp => match spec.unix_millis() {
                Some(unix_millis) => StartAt::Timestamp { unix_millis },
                None => {
                    let given = spec.time.as_deref().unwrap_or_default();
                    let text = format!("{given:?} is no time: write it like 2026-01-31T12:00:00Z");
                    self.mistakes.push(Mistake::new(format!("{field}.time"), text));
                    StartAt::Earliest
                }
            },
        }
    }
}

fn names(topics: &[keyweir_crds::quantities::TopicName]) -> Vec<String> {
    topics.iter().map(|topic| topic.as_str().to_owned()).collect()
}
