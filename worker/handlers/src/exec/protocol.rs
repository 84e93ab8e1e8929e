//! What a child process reads: one line of JSON for each record. PROTOCOL.md tells handlers' authors; a test holds its
//! example to this. What a child answers is read in [`crate::answer`]. Up: [`super`].

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyweir_engine::ports::Request;
use serde_json::{Map, Value};

/// The line of a request, with its line end.
pub(super) fn request_line(request: &Request, id: &str, time_left: Option<Duration>) -> Vec<u8> {
    let record = &request.record;
    let mut line = Vec::with_capacity(record.weight() + 256);
    put(&mut line, b"{\"id\":", id);
    put(&mut line, b",\"topic\":", &request.shard.stream);
    line.extend_from_slice(
        format!(",\"partition\":{},\"offset\":{}", request.shard.index, record.offset).as_bytes(),
    );
    if record.timestamp >= 0 {
        line.extend_from_slice(format!(",\"timestamp\":{}", record.timestamp).as_bytes());
    }
    put_bytes(&mut line, "key", record.key());
    put_bytes(&mut line, "value", record.value());
    put_headers(&mut line, request);
    line.extend_from_slice(
        format!(",\"attempt\":{},\"fence\":\"{}\"", request.attempt, request.fence).as_bytes(),
    );
    if let Some(time_left) = time_left {
        line.extend_from_slice(format!(",\"timeLeftMs\":{}", time_left.as_millis()).as_bytes());
    }
    line.extend_from_slice(b"}\n");
    line
}

/// Writes what stands before a text, and the text as JSON.
fn put(line: &mut Vec<u8>, before: &[u8], text: &str) {
    line.extend_from_slice(before);
    // Writing a text into a vector cannot fail.
    let _ = serde_json::to_writer(line, text);
}

fn put_bytes(line: &mut Vec<u8>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => line.extend_from_slice(format!(",\"{name}\":null").as_bytes()),
        Some(Ok(text)) => put(line, format!(",\"{name}\":").as_bytes(), text),
        Some(Err(bytes)) => {
            put(line, format!(",\"{name}Base64\":").as_bytes(), &STANDARD.encode(bytes));
        }
    }
}

fn put_headers(line: &mut Vec<u8>, request: &Request) {
    let (mut plain, mut encoded) = (Map::new(), Map::new());
    for (name, value) in request.record.headers() {
        plain.remove(name);
        encoded.remove(name);
        match value.map(|value| std::str::from_utf8(value).map_err(|_| value)) {
            None => plain.insert(name.to_owned(), Value::Null),
            Some(Ok(text)) => plain.insert(name.to_owned(), text.into()),
            Some(Err(bytes)) => encoded.insert(name.to_owned(), STANDARD.encode(bytes).into()),
        };
    }
    line.extend_from_slice(format!(",\"headers\":{}", Value::Object(plain)).as_bytes());
    if !encoded.is_empty() {
        line.extend_from_slice(format!(",\"headersBase64\":{}", Value::Object(encoded)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Draft;

    fn read(draft: &Draft) -> Value {
        let request = draft.build();
        let line = request_line(&request, "t/0/1", request.time_left);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&line).expect("JSON")
    }

    #[test]
    fn a_record_of_text_is_text() {
        let draft = Draft::new("t", 0, 1).key("k").value("two\nlines \"quoted\"").header("h", "ä").attempt(2);
        assert_eq!(
            read(&draft),
            serde_json::json!({
                "id": "t/0/1", "topic": "t", "partition": 0, "offset": 1, "timestamp": 1_700_000_000_123_u64,
                "key": "k", "value": "two\nlines \"quoted\"", "headers": {"h": "ä"},
                "attempt": 2, "fence": "1.2", "timeLeftMs": 30_000
            })
        );
    }

    #[test]
    fn the_protocol_documents_example_is_a_request() {
        let draft = Draft::new("orders", 3, 17).key("anna").value(r#"{"total": 5}"#).header("shop", "1");
        let request = draft.build();
        let line = request_line(&request, "orders/3/17", request.time_left);
        let line = String::from_utf8(line).expect("text");
        assert!(include_str!("../../PROTOCOL.md").contains(&line), "{line}");
    }

    #[test]
    fn bytes_are_encoded_and_nulls_are_null() {
        let line = read(&Draft::new("t", 0, 1).key(b"\xff").header("h", b"\xfe").time_left(None));
        assert_eq!((&line["keyBase64"], &line["value"]), (&"/w==".into(), &Value::Null));
        assert_eq!(line["headersBase64"], serde_json::json!({"h": "/g=="}));
        assert!(line.get("key").is_none() && line.get("timeLeftMs").is_none());
    }

    #[test]
    fn the_last_of_two_equal_headers_stands() {
        let line = read(&Draft::new("t", 0, 1).header("h", b"\xfe").header("h", "last"));
        assert_eq!(line["headers"], serde_json::json!({"h": "last"}));
        assert!(line.get("headersBase64").is_none());
    }
}
