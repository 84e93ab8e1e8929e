//! A real etcd server on free ports and with a data directory of its own: plain and TLS side by side,
//! users on request, compaction on demand.

mod tools;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cache::{self, CacheError};
use crate::http::http;
use crate::ports::{LOOPBACK, Port};
use crate::process::{self, Process, ProcessError};
use crate::scratch::Scratch;
use crate::tls::{Authority, Certificate, TlsError};
use crate::wait;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(10);
/// The server's name among its kind.
const NAME: &str = "test";

/// Why the server does not run or refused.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// Its directory or its ports could not be had.
    #[error("failed to prepare etcd's directory")]
    Prepare(#[source] io::Error),
    /// Its newer programs could not be built.
    #[error("failed to build etcd")]
    Build(#[source] CacheError),
    /// Its certificates could not be made.
    #[error("failed to make etcd's certificates")]
    Tls(#[source] CacheError),
    /// The process could not be started, signalled or stopped.
    #[error("failed to control etcd")]
    Process(#[source] ProcessError),
    /// It runs and does not answer.
    #[error("failed to reach etcd; its last lines:\n{log}")]
    Silent {
        /// What was waited for.
        #[source]
        source: wait::TimedOut,
        /// The end of its log.
        log: String,
    },
    /// A request could not be sent.
    #[error("failed to call etcd at {path}")]
    Call {
        /// Which request.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A request was refused.
    #[error("failed to have etcd accept {path}: {answer}")]
    Refused {
        /// Which request.
        path: String,
        /// What it said.
        answer: String,
    },
}

/// A running etcd server. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    program: Vec<String>,
    arguments: Vec<String>,
    plain: Port,
    tls: Port,
    peer: Port,
    certificates: Authority,
    dir: Scratch,
}

impl Etcd {
    /// Starts a server.
    ///
    /// # Errors
    /// When it can't be installed or does not come up.
    pub fn start() -> Result<Etcd, EtcdError> {
        Etcd::start_with(&[])
    }

    /// Starts a server with more command line arguments (`--auto-compaction-retention=1s`).
    ///
    /// # Errors
    /// When it can't be installed or does not come up.
    pub fn start_with(more: &[&str]) -> Result<Etcd, EtcdError> {
        Etcd::start_on(LOOPBACK, more)
    }

    /// Starts the newest etcd that is supported.
    ///
    /// # Errors
    /// When it can't be built or does not come up.
    pub fn start_newer() -> Result<Etcd, EtcdError> {
        let program = tools::program("etcd").map_err(EtcdError::Build)?;
        Etcd::start_by(&[program.display().to_string()], LOOPBACK, &[])
    }

    /// Starts a server on that address of this machine.
    ///
    /// # Errors
    /// When it can't be installed or does not come up.
    pub fn start_on(host: &str, more: &[&str]) -> Result<Etcd, EtcdError> {
        // `etcd`, or the command in `KEYWEIR_ETCD` (`/some/where/kube etcd`), to run the tests on another version.
        let chosen = std::env::var("KEYWEIR_ETCD").unwrap_or_default();
        let mut program: Vec<String> = chosen.split_whitespace().map(str::to_owned).collect();
        if program.is_empty() {
            program.push("etcd".to_owned());
        }
        Etcd::start_by(&program, host, more)
    }

    fn start_by(program: &[String], host: &str, more: &[&str]) -> Result<Etcd, EtcdError> {
        let authority = certificates()?;
        let dir = Scratch::make("etcd").map_err(EtcdError::Prepare)?;
        let take = |host| Port::take_on(host).map_err(EtcdError::Prepare);
        let (plain, tls, peer) = (take(host)?, take(host)?, take(LOOPBACK)?);
        let server = authority.issued("server");
        let urls = format!("http://{},https://{}", plain.address(), tls.address());
        let peer_url = format!("http://{}", peer.address());
        let mut arguments: Vec<String> = [
            ("name", NAME),
            ("data-dir", &dir.path().join("data").display().to_string()),
            ("listen-client-urls", &urls),
            ("advertise-client-urls", &urls),
            ("listen-peer-urls", &peer_url),
            ("initial-advertise-peer-urls", &peer_url),
            ("initial-cluster", &format!("{NAME}={peer_url}")),
            ("cert-file", &server.cert.display().to_string()),
            ("key-file", &server.key.display().to_string()),
            ("logger", "zap"),
            ("log-level", "warn"),
        ]
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let program = program.to_vec();
        let process = launch(&program, &arguments, &dir)?;
        let mut etcd = Etcd { process, program, arguments, plain, tls, peer, certificates: authority, dir };
        etcd.wait_until_up()?;
        Ok(etcd)
    }

    /// `http://host:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.plain.address())
    }

    /// `https://host:port`.
    #[must_use]
    pub fn tls_endpoint(&self) -> String {
        format!("https://{}", self.tls.address())
    }

    /// Who signed the server's certificate.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.certificates.clone()
    }

    /// A client certificate of the same authority.
    #[must_use]
    pub fn client_certificate(&self) -> Certificate {
        self.certificates.issued("client")
    }

    /// The process id: for CPU and memory readings, and for signals of a test's own.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The last lines that the server logged.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Stops it in order and leaves data and ports as they are, for [`Etcd::up`].
    ///
    /// # Errors
    /// When it can't be stopped.
    pub fn down(&mut self) -> Result<(), EtcdError> {
        self.process.stop(STOP).map(|_| ()).map_err(EtcdError::Process)
    }

    /// Kills it at once (SIGKILL) and leaves data and ports as they are.
    ///
    /// # Errors
    /// When it can't be killed.
    pub fn kill9(&mut self) -> Result<(), EtcdError> {
        self.process.kill().map(|_| ()).map_err(EtcdError::Process)
    }

    /// Starts it again on the same ports and data; nothing when it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self) -> Result<(), EtcdError> {
        if self.process.ended().is_some() {
            self.process = launch(&self.program, &self.arguments, &self.dir)?;
        }
        self.wait_until_up()
    }

    /// Stops it in order and starts it again.
    ///
    /// # Errors
    /// When it can't be stopped or does not come up.
    pub fn restart(&mut self) -> Result<(), EtcdError> {
        self.down()?;
        self.up()
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn pause(&mut self) -> Result<(), EtcdError> {
        self.process.signal(Signal::SIGSTOP).map_err(EtcdError::Process)
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn resume(&mut self) -> Result<(), EtcdError> {
        self.process.signal(Signal::SIGCONT).map_err(EtcdError::Process)
    }

    /// The store's present revision.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn revision(&self) -> Result<i64, EtcdError> {
        // The gateway writes 64-bit numbers as strings.
        let answer = self.call("/v3/kv/range", &json!({"key": STANDARD.encode("revision")}))?;
        Ok(revision_of(&answer).unwrap_or_default())
    }

    /// How many keys stand under a prefix.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn count(&self, prefix: &str) -> Result<u64, EtcdError> {
        let (key, end) = (prefix.as_bytes(), prefix_end(prefix.as_bytes()));
        let range =
            json!({"key": STANDARD.encode(key), "range_end": STANDARD.encode(end), "count_only": true});
        let answer = self.call("/v3/kv/range", &range)?;
        // A zero is left out.
        let count = answer["count"].as_str().and_then(|text| text.parse().ok());
        Ok(count.unwrap_or_default())
    }

    /// Compacts the history up to the present revision: watches from an older one are cancelled.
    ///
    /// # Errors
    /// When the server refuses, as it does when nothing changed since the last compaction.
    pub fn compact(&self) -> Result<i64, EtcdError> {
        let revision = self.revision()?;
        self.call("/v3/kv/compaction", &json!({"revision": revision.to_string(), "physical": true}))?;
        Ok(revision)
    }

    /// Writes a key; gives the revision.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) -> Result<i64, EtcdError> {
        let answer = self.call(PUT, &put_body(key, value))?;
        Ok(revision_of(&answer).unwrap_or_default())
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn delete(&self, key: &str) -> Result<(), EtcdError> {
        self.call("/v3/kv/deleterange", &json!({"key": STANDARD.encode(key.as_bytes())})).map(drop)
    }

    /// Saves a backup, as README says.
    ///
    /// # Errors
    /// When the tool can't be built, or fails.
    pub fn back_up(&self, to: &Path) -> Result<(), EtcdError> {
        let endpoints = format!("--endpoints={}", self.endpoint());
        tool("etcdctl", &[&endpoints, "snapshot", "save", &to.display().to_string()])
    }

    /// Puts a backup in the place of its data, as README says; it must be down.
    ///
    /// # Errors
    /// When the tool can't be built, or fails.
    pub fn restore(&self, from: &Path) -> Result<(), EtcdError> {
        std::fs::remove_dir_all(self.data_dir()).map_err(EtcdError::Prepare)?;
        let peer = format!("http://{}", self.peer.address());
        let where_to = [
            format!("--data-dir={}", self.data_dir().display()),
            format!("--name={NAME}"),
            format!("--initial-cluster={NAME}={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
        ];
        let from = from.display().to_string();
        let as_readme_says =
            ["snapshot", "restore", &from, "--bump-revision", "1000000000", "--mark-compacted"];
        let words: Vec<&str> =
            as_readme_says.into_iter().chain(where_to.iter().map(String::as_str)).collect();
        tool("etcdutl", &words)
    }

    /// Adds a root user and a user who may read and write one prefix, and turns authentication on.
    /// Passwords are `<name>-secret`.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn require_users(&self, name: &str, prefix: &str) -> Result<(), EtcdError> {
        for (user, role) in [("root", "root"), (name, name)] {
            let password = format!("{user}-secret");
            self.call("/v3/auth/user/add", &json!({"name": user, "password": password}))?;
            self.call("/v3/auth/role/add", &json!({"name": role}))?;
            self.call("/v3/auth/user/grant", &json!({"user": user, "role": role}))?;
        }
        let (key, end) = (prefix.as_bytes(), prefix_end(prefix.as_bytes()));
        let range =
            json!({"permType": "READWRITE", "key": STANDARD.encode(key), "range_end": STANDARD.encode(&end)});
        self.call("/v3/auth/role/grant", &json!({"name": name, "perm": range}))?;
        self.call("/v3/auth/enable", &json!({})).map(|_| ())
    }

    fn wait_until_up(&mut self) -> Result<(), EtcdError> {
        let address = self.plain.address();
        let mut alive = Ok(());
        wait::until("a healthy answer", START, || {
            alive = self.process.must_run();
            alive.is_err() || healthy(&address)
        })
        .map_err(|source| EtcdError::Silent { source, log: self.process.log_tail(40) })?;
        alive.map_err(EtcdError::Process)
    }

    fn call(&self, path: &str, body: &Value) -> Result<Value, EtcdError> {
        let (status, answer) = http(&self.plain.address(), "POST", path, &body.to_string())
            .map_err(|source| EtcdError::Call { path: path.to_owned(), source })?;
        match serde_json::from_str(&answer) {
            Ok(value) if status == 200 => Ok(value),
            _ => Err(EtcdError::Refused { path: path.to_owned(), answer }),
        }
    }
}

fn launch(program: &[String], arguments: &[String], dir: &Scratch) -> Result<Process, EtcdError> {
    let mut words = program.iter();
    let mut command = Command::new(words.next().map_or("etcd", String::as_str));
    command.args(words).args(arguments);
    Process::start("etcd", command, &dir.path().join("etcd.log")).map_err(EtcdError::Process)
}

fn tool(name: &str, words: &[&str]) -> Result<(), EtcdError> {
    let mut command = Command::new(tools::program(name).map_err(EtcdError::Build)?);
    command.args(words);
    process::run(name, command).map(drop).map_err(EtcdError::Process)
}

fn certificates() -> Result<Authority, EtcdError> {
    let entry = format!("tls-{}", cache::key(&[include_str!("../tls.rs")]));
    let dir = cache::once(&entry, |dir| {
        let authority = Authority::make(dir)?;
        for name in ["server", "client"] {
            authority.issue(name)?;
        }
        Ok::<(), TlsError>(())
    });
    dir.map(|dir| Authority::at(&dir)).map_err(EtcdError::Tls)
}

fn healthy(address: &str) -> bool {
    http(address, "GET", "/health", "").is_ok_and(|(status, _)| status == 200)
}

/// The first key that no longer begins with `prefix`; etcd's ranges exclude their end.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Where the gateway takes a [`put_body`].
pub(crate) const PUT: &str = "/v3/kv/put";

/// What writes a key.
pub(crate) fn put_body(key: &str, value: impl AsRef<[u8]>) -> Value {
    json!({"key": STANDARD.encode(key.as_bytes()), "value": STANDARD.encode(value.as_ref())})
}

/// The store's revision after a call, by its answer.
pub(crate) fn revision_of(answer: &Value) -> Option<i64> {
    answer.pointer("/header/revision")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(&[1, 255]), [2]);
    }
}
