//! What every broker shares and is made once: jars, certificates, a formatted storage directory and an
//! archive of loaded classes, which halves the time and the processor use of each start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Broker, BrokerError, BrokerOptions, Layout};
use crate::cache::{self, CacheError};
use crate::kafka::{KafkaError, Record};
use crate::process::{self, ProcessError};
use crate::tls::{Authority, TlsError};

const POM: &str = include_str!("../../kafka/pom.xml");
const LOGGING: &str = include_str!("../../kafka/log4j2.yaml");
const PROPERTIES: &str = include_str!("../../kafka/server.properties");
const CLUSTER_ID: &str = "cluster.id";

/// Why the broker could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The cache entry could not be made.
    #[error("failed to fill the cache")]
    Cache(#[source] CacheError),
    /// The jars could not be fetched.
    #[error("failed to fetch the broker's jars with mvn")]
    Jars(#[source] ProcessError),
    /// The storage directory could not be formatted.
    #[error("failed to format the broker's storage")]
    Format(#[source] ProcessError),
    /// The certificates could not be made.
    #[error("failed to make the broker's certificates")]
    Tls(#[source] TlsError),
    /// A file could not be written or read.
    #[error("failed to write the broker's files")]
    Files(#[source] io::Error),
    /// The run that makes the class archive failed.
    #[error("failed to run the broker for its class archive")]
    Archive(#[source] Box<BrokerError>),
    /// The traffic of that run failed.
    #[error("failed to exercise the broker for its class archive")]
    Traffic(#[source] KafkaError),
}

/// The installed broker.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    dir: PathBuf,
}

impl Installation {
    /// The installation, made first if it is not there.
    pub(super) fn get() -> Result<Installation, InstallError> {
        let recipe = cache::key(&[POM, LOGGING, PROPERTIES, include_str!("install.rs")]);
        let base = cache::once(&format!("kafka-{recipe}"), make_base).map_err(InstallError::Cache)?;
        let installation = Installation { dir: base };
        let archive = installation.clone();
        cache::once(&format!("kafka-{recipe}-classes"), |dir| archive.make_archive(dir))
            .map_err(InstallError::Cache)?;
        Ok(installation)
    }

    pub(super) fn authority(&self) -> Authority {
        Authority::at(&self.dir.join("tls"))
    }

    /// A `java` with class path, logging and JVM options; the main class is still to be added.
    pub(super) fn java(&self, options: &BrokerOptions) -> Command {
        let mut java = Command::new("java");
        java.args(options.jvm()).arg("-Xshare:auto").arg("-Djava.awt.headless=true");
        let logging = self.dir.join("log4j2.yaml");
        java.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
        match &options.archive_to {
            Some(file) => java.arg(format!("-XX:ArchiveClassesAtExit={}", file.display())),
            None => java.arg(format!("-XX:SharedArchiveFile={}", self.archive().display())),
        };
        java.arg("-cp").arg(class_path(&self.dir.join("libs")));
        java
    }

    /// Copies the formatted storage to `data` and gives it a cluster id of its own.
    pub(super) fn copy_storage(&self, data: &Path) -> io::Result<()> {
        fs::create_dir_all(data)?;
        for file in fs::read_dir(self.dir.join("storage"))? {
            let file = file?;
            fs::copy(file.path(), data.join(file.file_name()))?;
        }
        let meta = data.join("meta.properties");
        let own: String = fs::read_to_string(&meta)?
            .lines()
            .map(|line| match line.split_once('=') {
                Some((CLUSTER_ID, _)) => format!("{CLUSTER_ID}={}\n", random_id(data)),
                _ => format!("{line}\n"),
            })
            .collect();
        fs::write(meta, own)
    }

    fn archive(&self) -> PathBuf {
        let mut name = self.dir.file_name().unwrap_or_default().to_owned();
        name.push("-classes");
        self.dir.with_file_name(name).join("classes.jsa")
    }

    /// Runs the broker once with the traffic of a test and lets it write its classes when it ends.
    fn make_archive(&self, dir: &Path) -> Result<(), InstallError> {
        let options = BrokerOptions { archive_to: Some(dir.join("classes.jsa")), ..BrokerOptions::default() };
        let archive = |source| InstallError::Archive(Box::new(source));
        let mut broker = Broker::of(self.clone(), options).map_err(archive)?;
        exercise(&broker).map_err(InstallError::Traffic)?;
        broker.down().map_err(archive)
    }
}

fn exercise(broker: &Broker) -> Result<(), KafkaError> {
    let topic = broker.unique_topic("warm", 2)?;
    let records: Vec<Record> = (0..100).map(|n| Record::new(&format!("key-{n}"), "value")).collect();
    broker.produce(&topic, &records)?;
    broker.produce_transaction(&topic, &records, true)?;
    broker.read_all(&topic, Duration::from_secs(20))?;
    broker.commit("warm", &topic, 0, 1, "")?;
    broker.committed("warm", &topic).map(|_| ())
}

fn make_base(dir: &Path) -> Result<(), InstallError> {
    fs::write(dir.join("pom.xml"), POM).map_err(InstallError::Files)?;
    fs::write(dir.join("log4j2.yaml"), LOGGING).map_err(InstallError::Files)?;
    let mut mvn = Command::new("mvn");
    mvn.args(["-q", "-B", "-f", "pom.xml", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", dir.join("libs").display()))
        .current_dir(dir);
    process::run("mvn", mvn).map_err(InstallError::Jars)?;
    let authority = Authority::make(&dir.join("tls")).map_err(InstallError::Tls)?;
    for name in ["server", "client"] {
        authority.issue(name).map_err(InstallError::Tls)?;
    }
    format_storage(dir)
}

/// Formats a storage directory with bob's SCRAM passwords; every broker starts from a copy of it.
fn format_storage(dir: &Path) -> Result<(), InstallError> {
    let installation = Installation { dir: dir.to_owned() };
    let scratch = dir.join("format");
    fs::create_dir_all(&scratch).map_err(InstallError::Files)?;
    let options = BrokerOptions::default();
    let layout = Layout::in_dir(&scratch, &options.host).map_err(InstallError::Files)?;
    let properties = layout.properties(&installation, &options);
    fs::write(layout.properties_file(), properties).map_err(InstallError::Files)?;
    let mut java = Command::new("java");
    java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(class_path(&dir.join("libs")))
        .args(["kafka.tools.StorageTool", "format", "-t", &random_id(dir), "-c"])
        .arg(layout.properties_file());
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        java.args(["--add-scram", &format!("{mechanism}=[name=bob,password=bob-secret]")]);
    }
    process::run("the storage tool", java).map_err(InstallError::Format)?;
    fs::rename(layout.data(), dir.join("storage")).map_err(InstallError::Files)?;
    fs::remove_dir_all(scratch).map_err(InstallError::Files)
}

/// The jars one by one and sorted: a class archive is valid for exactly the path it was made with.
fn class_path(libs: &Path) -> String {
    let mut jars: Vec<String> = fs::read_dir(libs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path().display().to_string())
        .filter(|path| path.ends_with(".jar"))
        .collect();
    jars.sort();
    jars.join(":")
}

/// A Kafka cluster id: 16 bytes in URL-safe base64, here 22 characters of which the last is a multiple
/// of 16.
fn random_id(salt: &Path) -> String {
    let salt = salt.display().to_string();
    let now = format!("{:?}", std::time::SystemTime::now());
    let hex = format!("{}{}", cache::key(&[&salt, &now]), cache::key(&[&now, &salt]));
    format!("{}A", &hex[..21])
}
