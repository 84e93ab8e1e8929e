//! Connection settings: what the manifest says and what Keyweir itself needs, as the client library wants them.
//!
//! Secrets are read from their files each time a client is made, so a client made after a rotation has the new
//! ones; [`Connection::fingerprint`] tells when one is due. Nothing here connects. Up: every adapter of this crate.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyweir_contract::endpoints::{KafkaEndpoint, PasswordLogin};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use thiserror::Error;

/// How long a cold call may take before it is given up and tried again later.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings that Keyweir sets itself. What a user wrote for them would break order, bounds or ownership.
const OWNED: &[&str] = &[
    "acks",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "client.rack",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "log.queue",
    "max.poll.interval.ms",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "plugin.library.paths",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "request.required.acks",
    "security.protocol",
    "session.timeout.ms",
    "statistics.interval.ms",
    "transactional.id",
];

/// Why a property may not be set by a user, or `None` if it may.
pub fn refused_property(name: &str) -> Option<&'static str> {
    if name.ends_with("password") || name.ends_with("secret") {
        return Some("it is a secret: name the file that holds it");
    }
    if name.starts_with("sasl.") || (name.starts_with("ssl.") && is_tls_material(name)) {
        return Some("it belongs to the fields for TLS and login");
    }
    OWNED.contains(&name).then_some("Keyweir sets it itself")
}

fn is_tls_material(name: &str) -> bool {
    name.ends_with(".location") || name.ends_with(".pem")
}

/// A cluster and the name under which this worker is seen there.
#[derive(Clone, Debug)]
pub struct Connection {
    endpoint: KafkaEndpoint,
    client_id: String,
}

impl Connection {
    /// A cluster, seen there as `client_id` (logs and quotas of the brokers name it).
    pub fn new(endpoint: KafkaEndpoint, client_id: impl Into<String>) -> Self {
        Self { endpoint, client_id: client_id.into() }
    }

    /// Its name, for errors and logs: the first servers that are asked.
    pub(crate) fn name(&self) -> String {
        self.endpoint.bootstrap_servers.join(",")
    }

    /// A client that asks and commits for a group, and never joins it.
    pub(crate) fn cold(&self, group: Option<&str>) -> Result<ClientConfig, ConfigError> {
        let mut config = self.base()?;
        if let Some(group) = group {
            config.set("group.id", group);
        }
        consume_safely(&mut config);
        Ok(config)
    }

    /// A client that reads, and keeps at most about `read_ahead` bytes that nobody has taken.
    pub(crate) fn reading(&self, read_ahead: usize) -> Result<ClientConfig, ConfigError> {
        let ahead = ReadAhead::of(read_ahead);
        let mut config = ClientConfig::new();
        config
            .set("fetch.max.bytes", ahead.fetch.to_string())
            // Only a floor under the line above, for a consumer; larger records are read all the same.
            .set("message.max.bytes", ahead.fetch.to_string())
            .set("max.partition.fetch.bytes", ahead.fetch.min(1 << 20).to_string())
            // A full queue is looked at again soon: the default of a second would starve a fast engine.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "100")
            // A partition that is opened or resumed is asked for only when the question under way is answered, and
            // with nothing to read the broker keeps that one so long.
            .set("fetch.wait.max.ms", "50")
            // A topic that is not there is said to be missing after this time, not after half a minute.
            .set("topic.metadata.propagation.max.ms", "1000");
        self.fill(&mut config)?;
        consume_safely(&mut config);
        config
            .set("enable.partition.eof", "true")
            .set("queued.min.messages", ahead.messages.to_string())
            .set("queued.max.messages.kbytes", (ahead.queue / 1024).to_string());
        Ok(config)
    }

    /// A client that writes durably, in order, and gives a record up after `delivery`.
    pub(crate) fn writing(&self, delivery: Duration) -> Result<ClientConfig, ConfigError> {
        let mut config = ClientConfig::new();
        config
            .set("linger.ms", "2")
            .set("compression.type", "lz4")
            // What is too large is for the broker to say.
            .set("message.max.bytes", "1000000000");
        self.fill(&mut config)?;
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", delivery.as_millis().to_string());
        Ok(config)
    }

    /// Changes when a secret's file has changed: the next client will differ from the last.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        for path in self.endpoint.files() {
            std::fs::read(path).ok().hash(&mut hasher);
        }
        hasher.finish()
    }

    fn base(&self) -> Result<ClientConfig, ConfigError> {
        let mut config = ClientConfig::new();
        self.fill(&mut config)?;
        Ok(config)
    }

    /// Lays over the defaults what the user wrote, and over that what is not theirs to choose.
    fn fill(&self, config: &mut ClientConfig) -> Result<(), ConfigError> {
        config
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set("enable.metrics.push", "false")
            // The broker's own limit is the true one; this is only what the client would refuse to read.
            .set("receive.message.max.bytes", "1000000000");
        for (name, value) in &self.endpoint.properties {
            if let Some(why) = refused_property(name) {
                return Err(ConfigError::Property { name: name.clone(), why });
            }
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", self.endpoint.bootstrap_servers.join(","))
            .set("client.id", &self.client_id)
            // Why a connection ends is told where it matters, and logged where somebody asks for it.
            .set("log.connection.close", "true");
        if !matches!(config.log_level, RDKafkaLogLevel::Debug) {
            config.set_log_level(RDKafkaLogLevel::Info);
        }
        self.secure(config)
    }

    fn secure(&self, config: &mut ClientConfig) -> Result<(), ConfigError> {
        let tls = self.endpoint.tls.as_ref();
        config.set(
            "security.protocol",
            match (tls.is_some(), self.endpoint.sasl.is_some()) {
                (false, false) => "plaintext",
                (true, false) => "ssl",
                (false, true) => "sasl_plaintext",
                (true, true) => "sasl_ssl",
            },
        );
        if let Some(ca) = tls.and_then(|tls| tls.ca.as_ref()) {
            config.set("ssl.ca.location", text(ca)?);
        }
        if let Some(client) = tls.and_then(|tls| tls.client.as_ref()) {
            config
                .set("ssl.certificate.location", text(&client.certificate)?)
                .set("ssl.key.location", text(&client.key)?);
        }
        if let Some(sasl) = &self.endpoint.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.name())
                .set("sasl.username", &sasl.login.username)
                .set("sasl.password", password(&sasl.login)?);
        }
        Ok(())
    }
}

/// What every consuming client here has in common: it owns no offsets and decides no position.
fn consume_safely(config: &mut ClientConfig) {
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed");
}

/// How a budget of bytes read ahead is split among the places where such bytes may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadAhead {
    /// The client library's queue, for all partitions together.
    pub(crate) queue: usize,
    /// One answer of one broker, on its way.
    pub(crate) fetch: usize,
    /// Messages in that queue: each costs the library some 350 bytes besides its own.
    pub(crate) messages: usize,
    /// One batch on its way to the engine.
    pub(crate) batch: usize,
}

impl ReadAhead {
    /// Three eighths for the queue, the rest for answers on their way, batches on their way and the library's own costs.
    pub(crate) fn of(bytes: usize) -> Self {
        Self {
            queue: (bytes / 8 * 3).clamp(64 << 10, 2_000_000_000),
            fetch: (bytes / 16).clamp(64 << 10, 32 << 20),
            messages: (bytes / 1024).clamp(1_000, 200_000),
            batch: (bytes / 32).clamp(16 << 10, 4 << 20),
        }
    }
}

fn text(path: &Path) -> Result<&str, ConfigError> {
    path.to_str().ok_or_else(|| ConfigError::Path { path: path.to_owned() })
}

fn password(login: &PasswordLogin) -> Result<String, ConfigError> {
    let mut password = std::fs::read_to_string(&login.password_file)
        .map_err(|source| ConfigError::Secret { path: login.password_file.clone(), source })?;
    if password.ends_with('\n') {
        password.pop();
    }
    Ok(password)
}

/// Why a client can't be configured. A person must act, except where a file is still to come.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A property that users may not set.
    #[error("failed to accept the property {name}: {why}")]
    Property {
        /// Its name.
        name: String,
        /// Whose it is.
        why: &'static str,
    },
    /// A file with a secret can't be read.
    #[error("failed to read the secret in {}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A path that is not text can't be handed to the client library.
    #[error("failed to use the path {}: it is not UTF-8", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The system gives no thread.
    #[error("failed to start the thread that reads")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client library refused the settings.
    #[error("failed to make a client for {cluster}")]
    Client {
        /// The cluster.
        cluster: String,
        /// Why.
        #[source]
        source: rdkafka::error::KafkaError,
    },
}

#[cfg(test)]
mod tests {
    use keyweir_contract::endpoints::{Sasl, SaslMechanism, Tls};

    use super::*;

    fn endpoint() -> KafkaEndpoint {
        KafkaEndpoint {
            bootstrap_servers: vec!["a:9092".into(), "b:9092".into()],
            tls: None,
            sasl: None,
            properties: [("fetch.max.bytes".to_owned(), "70000".to_owned())].into(),
        }
    }

    #[test]
    fn what_a_user_wrote_stands_over_defaults_and_under_what_we_own() {
        let config = Connection::new(endpoint(), "me").reading(64 << 20).unwrap();
        assert_eq!(config.get("fetch.max.bytes"), Some("70000"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:9092,b:9092"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("group.id"), None);
    }

    #[test]
    fn owned_and_secret_properties_are_refused() {
        for name in ["group.id", "isolation.level", "sasl.password", "ssl.key.location", "ssl.ca.pem"] {
            let mut endpoint = endpoint();
            endpoint.properties.insert(name.into(), "x".into());
            let refused = Connection::new(endpoint, "me").cold(None);
            assert!(matches!(refused, Err(ConfigError::Property { .. })), "{name}");
        }
        assert_eq!(refused_property("ssl.endpoint.identification.algorithm"), None);
    }

    #[test]
    fn a_changed_password_is_seen_and_used() {
        let file = std::env::temp_dir().join(format!("keyweir-password-{}", std::process::id()));
        std::fs::write(&file, "one\n").unwrap();
        let login = PasswordLogin { username: "u".into(), password_file: file.clone() };
        let sasl = Some(Sasl { mechanism: SaslMechanism::ScramSha512, login });
        let connection =
            Connection::new(KafkaEndpoint { sasl, tls: Some(Tls::default()), ..endpoint() }, "me");
        let before = connection.fingerprint();
        assert_eq!(connection.cold(Some("g")).unwrap().get("sasl.password"), Some("one"));
        assert_eq!(connection.cold(Some("g")).unwrap().get("security.protocol"), Some("sasl_ssl"));
        std::fs::write(&file, "two").unwrap();
        assert_eq!(connection.cold(Some("g")).unwrap().get("sasl.password"), Some("two"));
        assert_ne!(connection.fingerprint(), before);
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(connection.cold(None), Err(ConfigError::Secret { .. })));
    }

    #[test]
    fn a_small_budget_still_reads_and_a_large_one_stays_bounded() {
        let small = ReadAhead::of(0);
        assert!(small.queue >= 64 << 10 && small.messages >= 1_000 && small.batch > 0);
        let large = ReadAhead::of(64 << 20);
        assert!(large.queue + large.fetch + 4 * large.batch + 350 * large.messages <= 64 << 20);
    }
}
