//! What a broker is told: its ports and folders, its properties, its share of the machine.

use std::io;
use std::path::{Path, PathBuf};

use super::install::Installation;
use crate::ports::{LOOPBACK, Port};

const TEMPLATE: &str = include_str!("../../kafka/server.properties");

/// How much of the machine the broker's JVM may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strength {
    /// Starts fast and stays small: a test's broker.
    #[default]
    Light,
    /// Compiles its hot paths and buffers well: a benchmark's broker.
    Full,
}

/// What differs from broker to broker.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// The address of this machine it listens on and gives to clients.
    pub host: String,
    /// The JVM.
    pub strength: Strength,
    /// Properties on top of those of every test broker.
    pub properties: Vec<(String, String)>,
    /// Where the class archive is written at exit; only its recipe sets this.
    pub(super) archive_to: Option<PathBuf>,
}

impl Default for BrokerOptions {
    fn default() -> BrokerOptions {
        BrokerOptions {
            host: LOOPBACK.to_owned(),
            strength: Strength::default(),
            properties: Vec::new(),
            archive_to: None,
        }
    }
}

impl BrokerOptions {
    /// A broker on another address of this machine: the pods' bridge, say.
    #[must_use]
    pub fn on(host: &str) -> BrokerOptions {
        BrokerOptions { host: host.to_owned(), ..BrokerOptions::default() }
    }

    /// The usual properties on a JVM of that strength.
    #[must_use]
    pub fn of(strength: Strength) -> BrokerOptions {
        BrokerOptions { strength, ..BrokerOptions::default() }
    }

    /// Adds a broker property.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> BrokerOptions {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Only unauthenticated clients and alice may do anything; bob is known and may do nothing.
    #[must_use]
    pub fn denying_bob(self) -> BrokerOptions {
        self.property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
            .property("super.users", "User:ANONYMOUS;User:alice")
            .property("allow.everyone.if.no.acl.found", "false")
    }

    pub(super) fn jvm(&self) -> Vec<&'static str> {
        match self.strength {
            Strength::Light => vec!["-XX:+UseSerialGC", "-Xms64m", "-Xmx320m", "-XX:TieredStopAtLevel=1"],
            Strength::Full => vec!["-XX:+UseSerialGC", "-Xms256m", "-Xmx1g"],
        }
    }
}

/// One broker's ports and files. The ports stay taken while it lives, also between two starts.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    plain: Port,
    sasl: Port,
    tls: Port,
    sasl_tls: Port,
    controller: Port,
}

impl Layout {
    pub(super) fn in_dir(dir: &Path, host: &str) -> io::Result<Layout> {
        Ok(Layout {
            dir: dir.to_owned(),
            plain: Port::take_on(host)?,
            sasl: Port::take_on(host)?,
            tls: Port::take_on(host)?,
            sasl_tls: Port::take_on(host)?,
            controller: Port::take()?,
        })
    }

    pub(super) fn plain(&self) -> String {
        self.plain.address()
    }

    pub(super) fn sasl(&self) -> String {
        self.sasl.address()
    }

    pub(super) fn tls(&self) -> String {
        self.tls.address()
    }

    pub(super) fn sasl_tls(&self) -> String {
        self.sasl_tls.address()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(super) fn properties_file(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    pub(super) fn properties(&self, installation: &Installation, options: &BrokerOptions) -> String {
        let authority = installation.authority();
        let mut text = TEMPLATE.to_owned();
        for (name, value) in [
            ("@HOST@", options.host.clone()),
            ("@PLAIN@", self.plain.number().to_string()),
            ("@SASL@", self.sasl.number().to_string()),
            ("@TLS@", self.tls.number().to_string()),
            ("@SASL_TLS@", self.sasl_tls.number().to_string()),
            ("@CONTROLLER@", self.controller.number().to_string()),
            ("@DATA@", self.data().display().to_string()),
            ("@KEYSTORE@", authority.issued("server").bundle.display().to_string()),
            ("@CA@", authority.ca().display().to_string()),
        ] {
            text = text.replace(name, &value);
        }
        for (name, value) in &options.properties {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}
