//! A `keyweir run` under way: what it says of itself, signals, its end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keyweir_e2e::process::Process;
use keyweir_e2e::wait;
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long anything may take on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A program under way. Dropping it kills it.
pub(crate) struct Running {
    process: Process,
    log: PathBuf,
    /// Where its own part of the log begins.
    begins: u64,
    address: String,
}

impl Running {
    /// Starts it and waits until it listens.
    pub(crate) fn start(command: Command, log: &Path) -> Self {
        let begins = std::fs::metadata(log).map_or(0, |known| known.len());
        let process = Process::start("keyweir", command, log).expect("keyweir starts");
        let mut running = Self { process, log: log.to_owned(), begins, address: String::new() };
        running.address = running.see("where it listens", |running| {
            let said = running.said();
            let line = said.lines().find(|line| line.starts_with('{') && line.contains("\"listening\""))?;
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["listening"].as_str()?.to_owned())
        });
        running
    }

    /// Starts a program that says nothing of where it listens, and waits until it answers there.
    pub(crate) fn start_at(command: Command, log: &Path, address: &str) -> Self {
        let process = Process::start("keyweir", command, log).expect("it starts");
        let mut running = Self { process, log: log.to_owned(), begins: 0, address: address.to_owned() };
        running.see("its first answer", |running| (running.get("/livez").0 == 200).then_some(()));
        running
    }

    /// All that it has said, on standard output and standard error.
    pub(crate) fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.begins as usize..).unwrap_or_default()).into_owned()
    }

    /// Waits until `look` finds something; the program must not end meanwhile.
    #[track_caller]
    pub(crate) fn see<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let found = wait::some(what, PATIENCE, || {
            let found = look(self);
            if found.is_none() {
                self.process.must_run().expect("keyweir runs");
            }
            found
        });
        found.expect("it comes")
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "", "").unwrap_or_default()
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: keyweir\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// What it says of an object, by its name without the namespace.
    pub(crate) fn object(&self, name: &str) -> Option<Value> {
        let (_, body) = self.get("/v1/objects");
        let objects: Vec<Value> = serde_json::from_str(&body).ok()?;
        objects.into_iter().find(|object| object["name"] == format!("default/{name}"))
    }

    /// A number that it says of an object.
    pub(crate) fn count(&self, name: &str, field: &str) -> Option<u64> {
        self.object(name)?[field].as_u64()
    }

    /// The value of a metric, named with its labels; `None` = there is none.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let (_, metrics) = self.get("/metrics");
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Waits until a number of an object has come to that.
    #[track_caller]
    pub(crate) fn reach(&mut self, name: &str, field: &str, count: u64) {
        self.see(&format!("{field} of {name} reach {count}"), |running| {
            (running.count(name, field)? >= count).then_some(())
        });
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal).expect("it can be signalled");
    }

    /// Kills it; it must have been alive.
    #[track_caller]
    pub(crate) fn kill9(mut self) {
        let status = self.process.kill().expect("it can be killed");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "it was alive: {}", self.said());
    }

    /// Asks it to stop and waits for its end: exit code and all it said.
    #[track_caller]
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::SIGTERM);
        self.end()
    }

    /// Waits for its end: exit code and all it said.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = wait::some("its end", PATIENCE, || self.process.ended()).expect("it ends");
        (status.code(), self.said())
    }
}

/// The summary that a run prints at its end.
#[track_caller]
pub(crate) fn summary(said: &str) -> Value {
    let line = said.lines().find(|line| line.starts_with("{\"summary\"")).expect("a summary");
    let line: Value = serde_json::from_str(line).expect("JSON");
    line["summary"].clone()
}
