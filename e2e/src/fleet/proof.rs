//! What `keyweir verify` says of a fleet's event logs.

use std::fmt;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{FleetError, Sent, program};
use crate::process::ProcessError;

/// How often a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which promise.
    pub promise: &'static str,
    /// How often.
    pub count: u64,
    /// Some of the cases, in words.
    pub examples: Vec<String>,
}

/// What was found in the event logs of all workers.
#[derive(Debug, Clone)]
pub struct Findings {
    found: Value,
}

impl Findings {
    /// A count by its name in `keyweir verify --json`; one that is not there is as high as can be.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.found[name].as_u64().unwrap_or(u64::MAX)
    }

    /// Every promise, and how often it was broken.
    #[must_use]
    pub fn promises(&self) -> Vec<Broken> {
        let broken = |promise: &'static str| {
            let found = &self.found[promise];
            let examples = found["examples"].as_array().into_iter().flatten();
            let examples = examples.filter_map(Value::as_str).map(str::to_owned).collect();
            Broken { promise, count: found["count"].as_u64().unwrap_or(u64::MAX), examples }
        };
        ["lost", "order", "doubleHandling", "doubleOwnership"].map(broken).into()
    }

    /// # Panics
    /// When a promise was broken.
    pub fn must_be_clean(&self) {
        assert!(self.promises().iter().all(|broken| broken.count == 0), "{self}");
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in ["records", "done", "keys", "attempts", "duplicates", "late", "fences", "torn"] {
            if let Some(count) = self.found[name].as_u64() {
                write!(f, "{name} {count}, ")?;
            }
        }
        for Broken { promise, count, examples } in self.promises() {
            write!(f, "{promise} {count}, ")?;
            for example in examples.iter().take(5) {
                write!(f, "\n  {example}\n")?;
            }
        }
        Ok(())
    }
}

pub(super) fn verify(
    dir: &Path,
    logs: &[PathBuf],
    topic: &str,
    sent: &[Sent],
) -> Result<Findings, FleetError> {
    let expected = dir.join("sent.jsonl");
    let mut lines = String::with_capacity(sent.len() * 80);
    for Sent { partition, offset, .. } in sent {
        // Writing to a string can't fail.
        let _ = writeln!(lines, r#"{{"topic":"{topic}","partition":{partition},"offset":{offset}}}"#);
    }
    std::fs::write(&expected, lines).map_err(FleetError::Prepare)?;
    let mut command = Command::new(program("keyweir"));
    command.args(["verify", "--json"]).args(logs).arg("--expect").arg(&expected);
    // It ends with 4 when a promise was broken, and says which all the same.
    let output = command.stdin(Stdio::null()).output().map_err(|source| {
        FleetError::Process(ProcessError::Start { name: "keyweir verify".to_owned(), source })
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = serde_json::from_slice(&output.stdout).map_err(|source| {
        let said = text(&output.stdout) + &text(&output.stderr);
        FleetError::Answer { program: "keyweir verify", said, source }
    })?;
    Ok(Findings { found })
}
