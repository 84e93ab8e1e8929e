//! One test's directory: manifests, records, the data directory, and commands that run to their end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use keyweir_e2e::kafka::{Kafka, Record};
use serde_json::{Value, json};

use super::effects::Effects;
use super::running::Running;

/// One test's directory; it goes with the test.
pub(crate) struct Scene {
    directory: tempfile::TempDir,
    /// Where the data directory is, unless it is in here.
    data: Option<PathBuf>,
    pub(crate) effects: Effects,
}

/// Where records come from.
#[derive(Clone)]
pub(crate) enum From {
    /// The embedded log.
    Embedded,
    /// A topic of the run's broker.
    Kafka { broker: Kafka, topic: String },
}

impl From {
    pub(crate) fn kafka(partitions: i32) -> Self {
        let broker = keyweir_e2e::parts::kafka().expect("a broker");
        let topic = broker.unique_topic("cli", partitions).expect("a topic");
        Self::Kafka { broker, topic }
    }

    pub(crate) fn topic(&self) -> &str {
        match self {
            Self::Embedded => "orders",
            Self::Kafka { topic, .. } => topic,
        }
    }

    pub(crate) fn broker(&self) -> Option<&Kafka> {
        match self {
            Self::Embedded => None,
            Self::Kafka { broker, .. } => Some(broker),
        }
    }

    /// What a command line needs, besides the manifest.
    fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::Embedded => &["--embedded"],
            Self::Kafka { .. } => &[],
        }
    }

    /// The group that manifests of this test name.
    pub(crate) fn group(&self) -> String {
        format!("{}.group", self.topic())
    }
}

impl Scene {
    pub(crate) fn set() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let effects = Effects::make(directory.path());
        Self { directory, data: None, effects }
    }

    /// With its data directory elsewhere.
    pub(crate) fn with_data(self, data: PathBuf) -> Self {
        Self { data: Some(data), ..self }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.path("data"))
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.path("events.jsonl")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file is written");
        path
    }

    /// An empty file, whose being there means something.
    pub(crate) fn touch(&self, name: &str) {
        self.write(name, "");
    }

    /// Writes a manifest: its name, where records come from, the handler, and further lines of the spec.
    pub(crate) fn manifest(&self, name: &str, from: &From, handler: &str, more: &str) -> PathBuf {
        let text = manifest(name, from, handler, more);
        self.write(&format!("{name}.yaml"), &text)
    }

    /// A command of `keyweir`, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyweir"));
        command.args(arguments).current_dir(self.directory.path()).env_remove("RUST_LOG");
        command
    }

    /// Runs `keyweir` to its end.
    pub(crate) fn keyweir(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).stdin(Stdio::null()).output();
        Ended::of(output.expect("keyweir starts"))
    }

    /// Starts `keyweir run` of a manifest in this scene's data directory, with an event log.
    pub(crate) fn run(&self, manifest: &Path, from: &From, more: &[&str]) -> Running {
        let command = self.run_command(manifest, from, more);
        Running::start(command, &self.path("run.log"))
    }

    /// As [`Scene::run`], to its end.
    pub(crate) fn run_to_end(&self, manifest: &Path, from: &From, more: &[&str]) -> Ended {
        let output = self.run_command(manifest, from, more).stdin(Stdio::null()).output();
        Ended::of(output.expect("keyweir starts"))
    }

    /// A `keyweir run`, not yet started.
    pub(crate) fn run_command(&self, manifest: &Path, from: &From, more: &[&str]) -> Command {
        let mut command = self.bare_command(manifest, from);
        if !more.contains(&"--event-log") {
            command.args(["--event-log".as_ref(), self.events().as_os_str()]);
        }
        command.args(more);
        command
    }

    /// As [`Scene::run_command`], without an event log.
    pub(crate) fn bare_command(&self, manifest: &Path, from: &From) -> Command {
        let mut command = self.command(&["run", "--listen", "127.0.0.1:0", "--progress", "json"]);
        command.args(["--data".as_ref(), self.data().as_os_str()]);
        command.args(["-f".as_ref(), manifest.as_os_str()]).args(from.flags());
        command
    }

    /// Sends records and notes what was sent, for the oracle.
    pub(crate) fn send(&self, from: &From, records: &[Value]) {
        let mut file = std::fs::File::create(self.path("to-send.jsonl")).expect("a file");
        for record in records {
            writeln!(file, "{record}").expect("a line is written");
        }
        self.send_file(from, "to-send.jsonl", &[]);
    }

    /// Sends a file's records; `properties` are for Kafka's client.
    pub(crate) fn send_file(&self, from: &From, name: &str, properties: &[&str]) {
        self.try_send(from, name, properties).must(0);
    }

    /// As [`Scene::send_file`], which may fail.
    pub(crate) fn try_send(&self, from: &From, name: &str, properties: &[&str]) -> Ended {
        let (data, sent) = (self.data().display().to_string(), self.path("sent.jsonl").display().to_string());
        let mut arguments = vec!["send", from.topic(), "--file", name, "--log", &sent];
        match from {
            From::Embedded => arguments.extend(["--data", &data]),
            From::Kafka { broker, .. } => {
                arguments.extend(["--bootstrap-servers", broker.bootstrap()]);
                arguments.extend(properties);
            }
        }
        self.keyweir(&arguments)
    }

    /// Holds the event log against what was sent: nothing lost, no order broken. Gives what was counted.
    pub(crate) fn verify(&self) -> Value {
        let (events, sent) =
            (self.events().display().to_string(), self.path("sent.jsonl").display().to_string());
        let found = self.keyweir(&["verify", &events, "--expect", &sent, "--json"]);
        found.must(0);
        serde_json::from_str(&found.out).expect("findings")
    }

    /// All records of a topic: of the broker, or of the data directory, which nobody may have open.
    pub(crate) fn read(&self, from: &From, topic: &str) -> Vec<Record> {
        match from.broker() {
            Some(broker) => broker.read_all(topic, super::running::PATIENCE).expect("records"),
            None => super::stored::records(&self.data(), topic),
        }
    }
}

/// A manifest's text.
pub(crate) fn manifest(name: &str, from: &From, handler: &str, more: &str) -> String {
    let server = from.broker().map_or("127.0.0.1:1", Kafka::bootstrap);
    let (topic, group) = (from.topic(), from.group());
    let more: String = more.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: keyweir.io/v1alpha1\nkind: StreamConsumer\nmetadata: {{name: {name}}}\nspec:\n  source:\n    \
         kafka: {{bootstrapServers: [\"{server}\"], topics: [{topic}], group: {group}}}\n  handler:\n    {handler}\n{more}"
    )
}

/// Records of so many keys, numbered within each.
pub(crate) fn numbered(count: u64, keys: u64) -> Vec<Value> {
    (0..count).map(|i| json!({"key": format!("key-{}", i % keys), "value": {"number": i / keys}})).collect()
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn must(&self, code: i32) {
        assert_eq!(self.code, Some(code), "out: {}\nerr: {}", self.out, self.err);
    }

    /// The summary that a run prints at its end.
    pub(crate) fn summary(&self) -> Value {
        super::running::summary(&self.out)
    }
}
