//! A meter beside a [`Fleet`](super::Fleet): the process that knows how far an object is behind without workers.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Fleet, FleetError, program};
use crate::http::http;
use crate::ports::Port;
use crate::process::Process;

/// A meter process. Dropping it kills it.
#[derive(Debug)]
pub struct Meter {
    process: Process,
    port: Port,
}

impl Meter {
    /// Starts a meter for the configurations in the directory.
    pub(super) fn start(dir: &Path, objects: &Path) -> Result<Meter, FleetError> {
        let port = Port::take().map_err(FleetError::Prepare)?;
        let mut command = Command::new(program("keyweir-worker"));
        command.args(["meter", "--listen", &port.address(), "--objects"]).arg(objects);
        let process = Process::start("the meter", command, &dir.join("meter.log"));
        Ok(Meter { process: process.map_err(FleetError::Process)?, port })
    }

    /// What it says at a path; `None` = it does not answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(u16, Value)> {
        let (status, body) = http(&self.port.address(), "GET", path, "").ok()?;
        Some((status, serde_json::from_str(&body).unwrap_or_default()))
    }

    /// All that it says, at once: the version and the objects.
    #[must_use]
    pub fn readings(&self) -> Value {
        self.get("/v1/readings").map(|(_, readings)| readings).unwrap_or_default()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }
}

impl Fleet {
    /// Starts a meter for this object.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn meter(&self) -> Result<Meter, FleetError> {
        let objects = self.dir.path().join("objects");
        std::fs::create_dir_all(&objects).map_err(FleetError::Prepare)?;
        let file = objects.join(format!("{}.json", self.name));
        std::fs::write(file, self.config.to_string()).map_err(FleetError::Prepare)?;
        Meter::start(self.dir.path(), &objects)
    }
}
