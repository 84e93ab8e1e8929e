//! Records written by people and scripts: JSON lines.
//!
//! ```json
//! {"key": "customer-7", "value": {"amount": 3}, "headers": {"kind": "Order"}}
//! ```
//! `value` is any JSON: a string is its text, `null` or nothing a null value, everything else its JSON text.
//! `keyBase64` and `valueBase64` carry bytes as they are. An unknown field is refused: a typo is not a default.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keyweir_engine::NewRecord;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a line may be.
const EXAMPLE: &str = r#"{"key": "a", "value": 1, "headers": {"name": "text"}}"#;

/// Which line is no record, and why.
#[derive(Debug, thiserror::Error)]
#[error("failed to read line {line} as a record: {why}")]
pub struct LineError {
    line: usize,
    why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given<'a> {
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    partition: Option<u32>,
    timestamp: Option<i64>,
}

/// One line; `line` is its number, for the error.
pub fn record(text: &[u8], line: usize) -> Result<NewRecord, LineError> {
    let wrong = |why: String| LineError { line, why };
    let given: Given<'_> = serde_json::from_slice(text)
        .map_err(|error| wrong(format!("{}; want an object such as {EXAMPLE}", in_line(&error))))?;
    let bytes = |text: String, field: &str| {
        STANDARD.decode(text).map(Bytes::from).map_err(|error| wrong(format!("{field}: {error}")))
    };
    let key = match (given.key, given.key_base64) {
        (Some(_), Some(_)) => return Err(wrong("key and keyBase64 exclude each other".to_owned())),
        (key, None) => key.map(Bytes::from),
        (None, Some(text)) => Some(bytes(text, "keyBase64")?),
    };
    let value = match (given.value, given.value_base64) {
        (Some(_), Some(_)) => return Err(wrong("value and valueBase64 exclude each other".to_owned())),
        (value, None) => value.and_then(value_bytes),
        (None, Some(text)) => Some(bytes(text, "valueBase64")?),
    };
    let headers = given.headers.into_iter().map(|(name, value)| (name, value.map(Bytes::from))).collect();
    Ok(NewRecord { key, value, headers, partition: given.partition, timestamp: given.timestamp })
}

/// What is wrong, without the line that the parser counts: it sees only one.
fn in_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// All lines of a body; empty ones are passed over. All or none.
pub fn records(text: &[u8]) -> Result<Vec<NewRecord>, LineError> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, text)| !text.trim_ascii().is_empty())
        .map(|(line, text)| record(text, line + 1))
        .collect()
}

fn value_bytes(value: &RawValue) -> Option<Bytes> {
    let text = value.get();
    match serde_json::from_str::<Option<String>>(text) {
        Ok(text) => text.map(Bytes::from),
        Err(_) => Some(Bytes::copy_from_slice(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_text_json_bytes_or_null() {
        let value = |line: &str| record(line.as_bytes(), 1).expect("a record").value;
        assert_eq!(value(r#"{"value": "plain"}"#).as_deref(), Some(&b"plain"[..]));
        assert_eq!(value(r#"{"value": {"a": [1]}}"#).as_deref(), Some(&br#"{"a": [1]}"#[..]));
        assert_eq!(value(r#"{"valueBase64": "/wA="}"#).as_deref(), Some(&[255, 0][..]));
        assert_eq!((value(r#"{"value": null}"#), value(r#"{"key": "k"}"#)), (None, None));
    }

    #[test]
    fn a_wrong_line_is_named_and_a_typo_refused() {
        let error = records(b"{\"key\": \"a\"}\n\n{\"kye\": \"b\"}\n").expect_err("a typo");
        let text = error.to_string();
        assert!(text.starts_with("failed to read line 3"), "{text}");
        assert!(text.contains("kye"), "{text}");
    }
}
