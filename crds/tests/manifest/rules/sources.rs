//! Rules of `source` and `coordination`.

use super::{Case, case};

const ETCD: &str = "source: {kafka: null, etcd: {endpoints: ['{}'], paths: [/orders]}}";
const EMBEDDED: &str = "source: {kafka: null, embedded: {topics: [orders]}}";
const CHOICE: &str = "set exactly one of secretKeyRef, configMapKeyRef";
const KEY: &str = "{name: certificates, key: ca.crt}";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = kafka();
    cases.extend(properties());
    cases.extend(provisions());
    cases.extend(etcd());
    cases.extend(embedded());
    cases.extend(coordination());
    cases.extend(bundles());
    cases.push(
        case("spec.source", "set exactly one of kafka, etcd, embedded")
            .accepts("{}")
            .accepts(ETCD.replace("{}", "http://etcd:2379"))
            .accepts(EMBEDDED)
            .refuses("source: {kafka: null}")
            .refuses("source: {embedded: {topics: [orders]}}"),
    );
    cases.push(
        case("spec.source", "the kind of source can't change")
            .refuses_change("{}", EMBEDDED)
            .refuses_change("{}", ETCD.replace("{}", "http://etcd:2379"))
            .refuses_change(ETCD.replace("{}", "http://etcd:2379"), EMBEDDED),
    );
    cases
}

fn kafka() -> Vec<Case> {
    vec![
        case("spec.source.kafka.group", "group can't change")
            .refuses_change("{}", "source: {kafka: {group: other}}"),
        case("spec.source.kafka.partitionDiscoveryInterval", "must be between 1s and 1h").bounds(
            "source: {kafka: {partitionDiscoveryInterval: {}}}",
            &["1s", "60s", "1h", "59m60s"],
            &["999ms", "0s", "1h1ms"],
        ),
        case("spec.source.kafka.startAt", "set time together with position: Timestamp")
            .accepts("source: {kafka: {startAt: {}}}")
            .accepts("source: {kafka: {startAt: {position: Latest}}}")
            .accepts("source: {kafka: {startAt: {position: Timestamp, time: '2026-01-31T08:00:00Z'}}}")
            .refuses("source: {kafka: {startAt: {position: Timestamp}}}")
            .refuses("source: {kafka: {startAt: {time: '2026-01-31T08:00:00Z'}}}"),
    ]
}

/// How topics are made, the same wherever one is named: the place, and a spec with `{}` for the provision.
const PROVISIONS: [(&str, &str); 5] = [
    ("spec.source.kafka.provision", "source: {kafka: {provision: {}}}"),
    ("spec.outputs[].kafka.provision", "outputs: [{name: o, kafka: {topic: t, provision: {}}}]"),
    ("spec.onExhausted.deadLetter.provision", "onExhausted: {deadLetter: {topic: t, provision: {}}}"),
    ("spec.onUndecodable.deadLetter.provision", "onUndecodable: {deadLetter: {topic: t, provision: {}}}"),
    (
        "spec.onUnknown.deadLetter.provision",
        "onUnknown: {action: DeadLetter, deadLetter: {topic: t, provision: {}}}",
    ),
];

fn provisions() -> Vec<Case> {
    let of = |(at, spec): (&str, &str)| {
        [
            case(at, "set replicationFactor, too").bounds(
                spec,
                &[
                    "{partitions: 3}",
                    "{partitions: 3, replicationFactor: 1}",
                    "{partitions: 3, replicationFactor: 3, minInsyncReplicas: 3}",
                ],
                &[
                    "{partitions: 3, minInsyncReplicas: 1}",
                    "{partitions: 3, replicationFactor: 2, minInsyncReplicas: 3}",
                ],
            ),
            case(format!("{at}.config"), "use minInsyncReplicas").bounds(
                spec,
                &["{partitions: 3, config: {cleanup.policy: compact}}"],
                &["{partitions: 3, config: {min.insync.replicas: '2'}}"],
            ),
        ]
    };
    PROVISIONS.into_iter().flat_map(of).collect()
}

fn properties() -> Vec<Case> {
    let at = "spec.source.kafka.properties";
    let set = "source: {kafka: {properties: {{}: x}}}";
    let fine = "fetch.max.bytes";
    vec![
        case(at, "secrets don't belong in properties").bounds(
            set,
            &[fine, "ssl.endpoint.identification.algorithm"],
            &["ssl.key.password", "ssl.keystore.password", "sasl.oauthbearer.client.secret", "my.password"],
        ),
        case(at, "files and keys of TLS don't belong").bounds(
            set,
            &[fine],
            &[
                "ssl.ca.location",
                "ssl.key.location",
                "ssl.certificate.pem",
                "ssl.key.pem",
                "ssl.keystore.location",
            ],
        ),
        case(at, "logins don't belong in properties").bounds(
            set,
            &[fine],
            &["sasl.username", "sasl.mechanism", "sasl.kerberos.keytab"],
        ),
        case(at, "remove plugin.library.paths").bounds(set, &[fine], &["plugin.library.paths"]),
        case(at, "remove the properties that Keyweir sets itself").bounds(
            set,
            &[fine, "fetch.wait.max.ms", "socket.keepalive.enable", "client.dns.lookup"],
            &keyweir_crds::source::OWNED_PROPERTIES,
        ),
    ]
}

fn etcd() -> Vec<Case> {
    let paths = |paths: &str| {
        format!("source: {{kafka: null, etcd: {{endpoints: ['http://etcd:2379'], paths: {paths}}}}}")
    };
    let etcd = ETCD.replace("{}", "http://etcd:2379");
    let every = etcd.replace("paths:", "delivery: Every, paths:");
    let with_tls = "source: {kafka: null, etcd: {endpoints: ['{}'], paths: [/orders], tls: {ca: null}}}";
    vec![
        case("spec.source.etcd", "make all endpoints https")
            .bounds(with_tls, &["https://a:2379"], &["http://a:2379"])
            .accepts(ETCD.replace("{}", "http://a:2379"))
            .accepts(ETCD.replace("{}", "https://a:2379"))
            .refuses(ETCD.replace("{}", "http://a:2379', 'https://b:2379")),
        case("spec.source.etcd.slots", "slots can't change").refuses_change(
            "source: {kafka: null, etcd: {endpoints: ['http://a:2379'], paths: [/orders], slots: 64}}",
            "source: {kafka: null, etcd: {endpoints: ['http://a:2379'], paths: [/orders], slots: 65}}",
        ),
        case("spec.source.etcd", "remove the paths that lie below another one")
            .accepts(paths("[/orders, /orders2, /refunds/a, /refunds/ab]"))
            .refuses(paths("[/orders, /orders/new]"))
            .refuses(paths("[/a/b/c, /x, /a]")),
        case("spec", "delivery: Latest is about single keys")
            .accepts(format!("{etcd}\nordering: Key"))
            .accepts(format!("{every}\nordering: None"))
            .accepts(format!("{every}\nkey: {{from: Header, header: etcd-kind}}"))
            .refuses(format!("{etcd}\nordering: None"))
            .refuses(format!("{etcd}\nordering: Partition"))
            .refuses(format!("{etcd}\nkey: {{from: Header, header: etcd-kind}}")),
        case("spec", "an etcd source has no topics to write to")
            .accepts(format!("{}\nonExhausted: {{action: Park}}", ETCD.replace("{}", "http://a:2379")))
            .accepts("outputs: [{name: a, kafka: {topic: a}}]")
            .refuses(format!(
                "{}\noutputs: [{{name: a, kafka: {{topic: a}}}}]",
                ETCD.replace("{}", "http://a:2379")
            ))
            .refuses(format!(
                "{}\nonExhausted: {{deadLetter: {{topic: a}}}}",
                ETCD.replace("{}", "http://a:2379")
            ))
            .refuses(format!(
                "{}\nonUndecodable: {{deadLetter: {{topic: a}}}}",
                ETCD.replace("{}", "http://a:2379")
            ))
            .refuses(format!(
                "{}\nonUnknown: {{action: DeadLetter, deadLetter: {{topic: a}}}}",
                ETCD.replace("{}", "http://a:2379")
            )),
    ]
}

fn embedded() -> Vec<Case> {
    let retention = "source: {kafka: null, embedded: {topics: [orders], retention: {}}}";
    vec![
        case("spec.source.embedded", "group can't change")
            .refuses_change(EMBEDDED, "source: {kafka: null, embedded: {topics: [orders], group: a}}")
            .refuses_change(
                "source: {kafka: null, embedded: {topics: [orders], group: a}}",
                "source: {kafka: null, embedded: {topics: [orders], group: b}}",
            ),
        case("spec", "an embedded source has one process: set replicas")
            .accepts(EMBEDDED)
            .accepts(format!("{EMBEDDED}\nreplicas: 0"))
            .accepts("replicas: 2")
            .refuses(format!("{EMBEDDED}\nreplicas: 2"))
            .refuses(format!("{EMBEDDED}\nscaling: {{mode: External}}")),
        case("spec", "an embedded source has one process: remove coordination")
            .accepts(format!("{EMBEDDED}\ncoordination: {{type: None}}"))
            .refuses(format!("{EMBEDDED}\ncoordination: {{type: Etcd}}")),
        case("spec.source.embedded.retention.age", "must be between 1m and 87600h").bounds(
            &retention.replace("{}", "{age: {}}"),
            &["1m", "168h", "87600h"],
            &["59s", "87601h"],
        ),
        case("spec.source.embedded.retention.bytes", "must be between 1Mi and 999Ti").bounds(
            &retention.replace("{}", "{bytes: {}}"),
            &["1Mi", "10Gi", "999Ti", "2M"],
            &["'0'", "1000k", "1000Ti"],
        ),
        case("spec.source.embedded.startAt", "set time together with position: Timestamp")
            .accepts("source: {kafka: null, embedded: {topics: [orders], startAt: {position: Earliest}}}")
            .refuses("source: {kafka: null, embedded: {topics: [orders], startAt: {position: Timestamp}}}"),
    ]
}

fn coordination() -> Vec<Case> {
    let at = "spec.coordination";
    let etcd = "coordination: {type: Etcd, etcd: {endpoints: ['{}']}}";
    vec![
        case(at, "remove etcd, or set type: Etcd")
            .accepts(etcd.replace("{}", "http://a:2379"))
            .accepts("coordination: {type: None}")
            .accepts("coordination: {type: Etcd}")
            .refuses("coordination: {type: None, etcd: {endpoints: ['http://a:2379']}}"),
        case(at, "placement: Static needs a place")
            .accepts("coordination: {type: Etcd, placement: Static}")
            .accepts("coordination: {type: None, placement: Dynamic}")
            .refuses("coordination: {type: None, placement: Static}"),
        case("spec", "routing: Key goes to whoever is there")
            .accepts("{routing: Key, coordination: {type: Etcd, placement: Dynamic}}")
            .accepts("{routing: Partition, coordination: {type: Etcd, placement: Static}}")
            .refuses("{routing: Key, coordination: {type: Etcd, placement: Static}}"),
        case("spec", "placement: Static keeps shards where they are")
            .accepts("{scaling: {mode: Builtin}, coordination: {type: Etcd, placement: Dynamic}}")
            .accepts("{scaling: {mode: External}, coordination: {type: Etcd, placement: Static}}")
            .accepts("{replicas: 3, coordination: {type: Etcd, placement: Static}}")
            .refuses("{scaling: {mode: Builtin}, coordination: {type: Etcd, placement: Static}}"),
        case("spec.coordination.etcd", "make all endpoints https")
            .accepts(etcd.replace("{}", "https://a:2379"))
            .accepts("coordination: {type: Etcd, etcd: {endpoints: ['https://a:2379'], tls: {}}}")
            .refuses(etcd.replace("{}", "http://a:2379', 'https://b:2379"))
            .refuses("coordination: {type: Etcd, etcd: {endpoints: ['http://a:2379'], tls: {}}}"),
        case("spec.coordination.memberTTL", "must be between 2s and 5m").bounds(
            "coordination: {type: Etcd, memberTTL: {}}",
            &["2s", "5s", "5m"],
            &["1999ms", "301s"],
        ),
        case("spec", "routing: Key needs ordering: Key")
            .accepts("routing: Key")
            .accepts("{ordering: Partition, routing: Partition}")
            .refuses("{ordering: Partition, routing: Key}")
            .refuses("{ordering: None, routing: Key}"),
        case("spec", "routing: Key sends records one by one")
            .accepts("{routing: Partition, handlerOptions: {batch: {}}}")
            .refuses("{routing: Key, handlerOptions: {batch: {}}}"),
        case("spec", "routing: Key needs members that meet")
            .accepts("{routing: Key, coordination: {type: Etcd}}")
            .refuses("{routing: Key, coordination: {type: None}}")
            .refuses(format!("{EMBEDDED}\nrouting: Key")),
        case("spec", "coordination.type: None allows one replica: set replicas")
            .accepts("{coordination: {type: None}, replicas: 1}")
            .accepts("{coordination: {type: Etcd}, replicas: 9}")
            .accepts("replicas: 9")
            .refuses("{coordination: {type: None}, replicas: 2}"),
        case("spec", "coordination.type: None allows one replica: set scaling.mode")
            .accepts("{coordination: {type: None}, scaling: {mode: Builtin, builtin: {maxReplicas: 1}}}")
            .accepts("{coordination: {type: Etcd}, scaling: {mode: External}}")
            .refuses("{coordination: {type: None}, scaling: {mode: Builtin}}")
            .refuses("{coordination: {type: None}, scaling: {mode: External}}"),
    ]
}

/// Where authorities may come from.
fn bundles() -> Vec<Case> {
    let places = [
        ("spec.source.kafka.tls.ca", "source: {kafka: {tls: {ca: {}}}}"),
        (
            "spec.source.etcd.tls.ca",
            "source: {kafka: null, etcd: {endpoints: ['https://a:2379'], paths: [/orders], tls: {ca: {}}}}",
        ),
        (
            "spec.coordination.etcd.tls.ca",
            "coordination: {type: Etcd, etcd: {endpoints: ['https://a:2379'], tls: {ca: {}}}}",
        ),
    ];
    let one = [format!("{{secretKeyRef: {KEY}}}"), format!("{{configMapKeyRef: {KEY}}}")];
    let wrong = ["{}".to_owned(), format!("{{secretKeyRef: {KEY}, configMapKeyRef: {KEY}}}")];
    let texts = |of: &'static str, values: &[String]| -> Vec<String> {
        values.iter().map(|value| of.replace("{}", value)).collect()
    };
    let cases = places.into_iter().map(|(at, spec)| {
        let case = texts(spec, &one).into_iter().fold(case(at, CHOICE), Case::accepts);
        texts(spec, &wrong).into_iter().fold(case, Case::refuses)
    });
    cases.collect()
}
