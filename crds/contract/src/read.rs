//! Reading a [`WorkerConfig`]: the version first, then strictly.
//!
//! A configuration of our own version, or an older one, must hold no field that we don't know: that is a
//! mistake. One of the next version may: that is how a rolling update passes.

use serde_json::Value;
use thiserror::Error;

use crate::worker_config::{CONTRACT_VERSION, WorkerConfig};

/// Why a configuration can't be used.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is no JSON.
    #[error("failed to parse the worker's configuration")]
    Parse(#[source] serde_json::Error),
    /// It names no version, or one too far from ours.
    #[error("failed to accept contract version {found:?}: this program reads {} to {}", lowest(), CONTRACT_VERSION + 1)]
    Version {
        /// What it names.
        found: Option<u64>,
    },
    /// A field is missing or has the wrong type.
    #[error("failed to read the worker's configuration")]
    Shape(#[source] serde_json::Error),
    /// It holds fields of no meaning.
    #[error("failed to accept unknown fields: {}", fields.join(", "))]
    UnknownFields {
        /// Their paths.
        fields: Vec<String>,
    },
}

fn lowest() -> u32 {
    CONTRACT_VERSION.saturating_sub(1).max(1)
}

/// Reads a configuration, refusing whatever it does not understand.
pub fn read(text: &str) -> Result<WorkerConfig, ReadError> {
    let given: Value = serde_json::from_str(text).map_err(ReadError::Parse)?;
    let found = given.get("contractVersion").and_then(Value::as_u64);
    let newer = u64::from(CONTRACT_VERSION) + 1;
    if !found.is_some_and(|version| (u64::from(lowest())..=newer).contains(&version)) {
        return Err(ReadError::Version { found });
    }
    let config = WorkerConfig::deserialize_from(&given).map_err(ReadError::Shape)?;
    if found == Some(newer) {
        return Ok(config);
    }
    let known = serde_json::to_value(&config).map_err(ReadError::Shape)?;
    let mut fields = Vec::new();
    collect_unknown(&given, &known, "", &mut fields);
    if fields.is_empty() { Ok(config) } else { Err(ReadError::UnknownFields { fields }) }
}

impl WorkerConfig {
    fn deserialize_from(value: &Value) -> Result<Self, serde_json::Error> {
        serde::Deserialize::deserialize(value)
    }
}

/// What was read, written again, holds every field that has a meaning: what is missing there is unknown.
fn collect_unknown(given: &Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) => collect_unknown(value, known, &path, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (value, known)) in given.iter().zip(known).enumerate() {
                collect_unknown(value, known, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = include_str!("../tests/minimal.json");
    const FULL: &str = include_str!("../tests/full.json");

    fn changed(change: impl FnOnce(&mut Value)) -> String {
        let mut value: Value = serde_json::from_str(FULL).expect("the fixture is JSON");
        change(&mut value);
        value.to_string()
    }

    #[test]
    fn a_configuration_reads_and_writes_back_the_same() {
        for text in [MINIMAL, FULL] {
            let config = read(text).expect("the fixture reads");
            let written = serde_json::to_string(&config).expect("plain data");
            assert_eq!(read(&written).expect("what is written reads"), config);
        }
    }

    #[test]
    fn unknown_fields_are_refused_all_at_once_by_path() {
        let text = changed(|value| {
            value["fixed"]["orderin"] = "Key".into();
            value["fixed"]["routes"][0]["tpoics"] = "x".into();
        });
        let error = read(&text).expect_err("must be refused").to_string();
        assert!(error.contains("fixed.orderin") && error.contains("fixed.routes[0].tpoics"), "{error}");
    }

    #[test]
    fn the_next_version_may_bring_new_fields_and_the_one_after_is_refused() {
        let next = changed(|value| {
            value["contractVersion"] = (CONTRACT_VERSION + 1).into();
            value["fixed"]["novelty"] = 1.into();
        });
        assert!(read(&next).is_ok());
        let later = changed(|value| value["contractVersion"] = (CONTRACT_VERSION + 2).into());
        assert!(matches!(read(&later), Err(ReadError::Version { .. })));
        assert!(matches!(read("{}"), Err(ReadError::Version { found: None })));
    }
}
