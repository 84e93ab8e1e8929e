//! One worker process of a [`Fleet`](super::Fleet): its configuration, its event log, what it says of itself.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{FleetError, Space, program};
use crate::http::http;
use crate::ports::{LOOPBACK, Port};
use crate::process::Process;

/// A worker process. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    /// Where it is reached, and on which port.
    host: String,
    port: Port,
    /// Where other workers reach it.
    wire: Port,
}

/// By what the workers of a fleet recognise each other, as the operator would have made it.
const WIRE_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Where a worker writes every step of every record.
pub(super) fn event_log(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("events-{number}.jsonl"))
}

impl Worker {
    pub(super) fn start(
        number: usize,
        dir: &Path,
        mut config: Value,
        environment: &[(&str, &str)],
        space: Option<&Space>,
    ) -> Result<Worker, FleetError> {
        let host = space.map_or_else(|| LOOPBACK.to_owned(), Space::inside);
        let port = Port::take().map_err(FleetError::Prepare)?;
        if config["fixed"]["process"]["eventLog"] != false {
            let events = event_log(dir, number);
            // One that is killed before its first record has a log all the same.
            std::fs::File::options().create(true).append(true).open(&events).map_err(FleetError::Prepare)?;
            config["fixed"]["process"]["eventLog"] = events.display().to_string().into();
        } else {
            config["fixed"]["process"]["eventLog"] = Value::Null;
        }
        config["fixed"]["process"]["listen"] = format!("{host}:{}", port.number()).into();
        let wire = Port::take().map_err(FleetError::Prepare)?;
        if config["fixed"]["routing"] == "Key" {
            let secret = dir.join("wire-secret");
            std::fs::write(&secret, WIRE_SECRET).map_err(FleetError::Prepare)?;
            config["fixed"]["coordination"]["etcd"]["peer"] =
                json!({"listen": wire.address(), "secretFile": secret.display().to_string()});
        }
        let path = dir.join(format!("worker-{number}.json"));
        std::fs::write(&path, config.to_string()).map_err(FleetError::Prepare)?;
        let worker = program("keyweir-worker");
        let mut command = space.map_or_else(|| Command::new(&worker), |space| space.command(&worker));
        command.arg("--config").arg(&path).args(["--member", &format!("worker-{number}")]);
        command.envs(environment.iter().copied());
        let log = dir.join(format!("worker-{number}.log"));
        let process = Process::start(&format!("worker {number}"), command, &log);
        Ok(Worker { process: process.map_err(FleetError::Process)?, host, port, wire })
    }

    /// `host:port` of its probes and metrics.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port.number())
    }

    /// `host:port` where other workers reach it, where keys are routed.
    #[must_use]
    pub fn wire(&self) -> String {
        self.wire.address()
    }

    /// One of its metrics, by name; `None` = it does not answer, or there is none.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, body) = http(&self.address(), "GET", "/metrics", "").ok()?;
        let line =
            body.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// What it says of its object (`/v1/objects`); `None` = it does not answer.
    #[must_use]
    pub fn object(&self) -> Option<Value> {
        let (status, body) = http(&self.address(), "GET", "/v1/objects", "").ok()?;
        let objects: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        objects.get(0).cloned()
    }

    /// Why it is not ready; `None` = it is.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        match http(&self.address(), "GET", "/readyz", "") {
            Ok((200, _)) => None,
            Ok((_, body)) => Some(body.trim().to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The shards that it owns, by name.
    #[must_use]
    pub fn shards(&self) -> Vec<String> {
        let object = self.object().unwrap_or_default();
        let shards = object["shards"].as_array().into_iter().flatten();
        shards.filter_map(|shard| shard["shard"].as_str()).map(str::to_owned).collect()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    pub(super) fn stop(&mut self, within: Duration) -> Result<ExitStatus, FleetError> {
        self.process.stop(within).map_err(FleetError::Process)
    }

    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    pub(super) fn kill9(&mut self) -> Result<(), FleetError> {
        self.process.kill().map(|_| ()).map_err(FleetError::Process)
    }

    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), FleetError> {
        self.process.signal(signal).map_err(FleetError::Process)
    }

    pub(super) fn must_run(&mut self) -> Result<(), FleetError> {
        self.process.must_run().map_err(FleetError::Process)
    }
}
