//! The one vocabulary in which handlers answer, whatever carries it: lines of JSON, each an action. PROTOCOL.md tells
//! handlers' authors; a test holds its examples to this.
//!
//! ```text
//! line ─▶ Line::read ─▶ Answer::take ─▶ … ─▶ Answer::finish ─▶ outcome
//!         is it one?    what it says         what it amounts to
//! ```
//!
//! What this file may not do: know a transport. Up: [`crate`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keyweir_contract::duration;
use keyweir_engine::{Failure, NewRecord, Outcome, Output, Verdict};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::reason;

/// One line of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Line<'a> {
    /// The record it is about.
    #[serde(borrow, default)]
    pub(crate) id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value_base64: Option<Cow<'a, str>>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(borrow, default)]
    after: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    /// Reads a line; the text says what is wrong with it and shows its start.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(line)
            .map_err(|error| invalid(format!("the line {:?} is no action: {error}", start_of(line))))
    }
}

/// The answer about one record, as it arrives.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    outputs: Vec<Output>,
    verdict: Option<Verdict>,
}

impl Answer {
    /// Takes an action. `Ok(true)` = the record has ended; what follows is not looked at.
    pub(crate) fn take(&mut self, line: Line<'_>) -> Result<bool, Failure> {
        match &*line.action {
            "done" => self.verdict = Some(Verdict::Done),
            "retry" => self.verdict = Some(retry(&line)?),
            "reject" => self.verdict = Some(Verdict::Reject(reject(&line))),
            "output" => self.outputs.push(output(line)?),
            "progress" => {}
            "reply" | "state" | "timer" => self.verdict = Some(Verdict::Reject(unsupported(&line.action))),
            other => {
                return Err(invalid(format!(
                    "{other:?} is no action: there are output, progress, done, retry and reject"
                )));
            }
        }
        Ok(self.verdict.is_some())
    }

    /// Whether nothing has been said yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.verdict.is_none() && self.outputs.is_empty()
    }

    /// What the answer amounts to, now that nothing more will come.
    pub(crate) fn finish(self) -> Outcome {
        match self.verdict {
            Some(Verdict::Done) => Outcome { verdict: Verdict::Done, outputs: self.outputs },
            Some(verdict) => Outcome::from(verdict),
            None => Outcome::retry(
                reason::ANSWER_INVALID,
                "the answer ended without done, retry or reject for the record",
            ),
        }
    }
}

/// A failure that says the answer is no answer.
pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(reason::ANSWER_INVALID, text)
}

/// An attempt that failed as this failure says; the retry policy decides what follows.
pub(crate) fn failed(failure: Failure) -> Outcome {
    Outcome::from(Verdict::Retry { after: None, failure })
}

/// The start of what the other side sent, for a text that a person reads.
pub(crate) fn start_of(bytes: &[u8]) -> String {
    const SHOWN: usize = 120;
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    if bytes.len() > SHOWN {
        text.push('…');
    }
    text
}

fn retry(line: &Line<'_>) -> Result<Verdict, Failure> {
    let after = match line.after.as_deref().map(duration::parse).transpose() {
        Ok(after) => after,
        Err(error) => return Err(invalid(error.to_string())),
    };
    let text = line.reason.as_deref().unwrap_or("the handler asked for another attempt").to_owned();
    Ok(Verdict::Retry { after, failure: Failure::new(reason::HANDLER_FAILED, text) })
}

fn reject(line: &Line<'_>) -> Failure {
    let text = line.reason.as_deref().unwrap_or("the handler rejected the record").to_owned();
    Failure::new(reason::HANDLER_REJECTED, text)
}

fn unsupported(action: &str) -> Failure {
    let text = format!("the handler sent {action:?}, which a StreamConsumer does not have");
    Failure::new(reason::ACTION_UNSUPPORTED, text)
}

fn output(line: Line<'_>) -> Result<Output, Failure> {
    let Some(name) = line.name else {
        return Err(invalid("an output lacks its name: one of the object's outputs"));
    };
    let key = match (line.key, line.key_base64) {
        (Some(_), Some(_)) => return Err(invalid("an output has both key and keyBase64")),
        (Some(key), None) => Some(Bytes::from(key.into_owned())),
        (None, encoded) => encoded.map(|encoded| decode(&encoded)).transpose()?,
    };
    let value = match (line.value, line.value_base64) {
        (Some(_), Some(_)) => return Err(invalid("an output has both value and valueBase64")),
        (Some(value), None) => Some(plain(value)?),
        (None, encoded) => encoded.map(|encoded| decode(&encoded)).transpose()?,
    };
    let headers = line.headers.into_iter().map(|(name, value)| (name, value.map(Bytes::from))).collect();
    let record = NewRecord { key, value, headers, partition: line.partition, timestamp: None };
    Ok(Output { name: name.into_owned(), record })
}

/// A JSON string is its text, any other JSON itself.
fn plain(value: &RawValue) -> Result<Bytes, Failure> {
    let json = value.get();
    if !json.starts_with('"') {
        return Ok(Bytes::copy_from_slice(json.as_bytes()));
    }
    let text: String = serde_json::from_str(json)
        .map_err(|error| invalid(format!("an output's value is no text: {error}")))?;
    Ok(Bytes::from(text))
}

fn decode(encoded: &str) -> Result<Bytes, Failure> {
    STANDARD
        .decode(encoded)
        .map(Bytes::from)
        .map_err(|error| invalid(format!("an output is no base64: {error}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(lines: &[&str]) -> Outcome {
        let mut answer = Answer::default();
        for line in lines {
            match Line::read(line.as_bytes()).and_then(|line| answer.take(line)) {
                Ok(false) => {}
                Ok(true) => break,
                Err(failure) => return failed(failure),
            }
        }
        answer.finish()
    }

    fn text_of(outcome: Outcome) -> String {
        match outcome.verdict {
            Verdict::Retry { failure, .. } | Verdict::Reject(failure) => failure.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn outputs_stand_with_done_in_their_order() {
        let outcome = answer(&[
            r#"{"action":"progress"}"#,
            r#"{"action":"output","name":"a","key":"k","value":{"x": 1},"headers":{"h":"1","n":null}}"#,
            r#"{"action":"output","name":"b","keyBase64":"/w==","value":"text\n","partition":3}"#,
            r#"{"action":"output","name":"c"}"#,
            r#"{"action":"done"}"#,
        ]);
        assert_eq!(outcome.verdict, Verdict::Done);
        let [a, b, c] = &outcome.outputs[..] else { unreachable!("three outputs") };
        assert_eq!((&a.name[..], a.record.value.as_deref()), ("a", Some(&br#"{"x": 1}"#[..])));
        assert_eq!(a.record.headers, [("h".to_owned(), Some(Bytes::from("1"))), ("n".to_owned(), None)]);
        assert_eq!(b.record.key.as_deref(), Some(&b"\xff"[..]));
        assert_eq!((b.record.value.as_deref(), b.record.partition), (Some(&b"text\n"[..]), Some(3)));
        assert_eq!((c.record.key.as_ref(), c.record.value.as_ref()), (None, None));
    }

    #[test]
    fn retry_and_reject_say_why_and_when() {
        let outcome = answer(&[r#"{"action":"retry","after":"1m30s","reason":"closed"}"#]);
        let after = Some(Duration::from_secs(90));
        let failure = Failure::new(reason::HANDLER_FAILED, "closed");
        assert_eq!(outcome.verdict, Verdict::Retry { after, failure });
        assert!(
            text_of(answer(&[r#"{"action":"reject","reason":"no"}"#])).starts_with("HandlerRejected: no")
        );
    }

    #[test]
    fn what_is_no_answer_is_a_failed_attempt_that_shows_it() {
        for (line, says) in [
            ("hello", "\"hello\" is no action"),
            ("{}", "missing field `action`"),
            (r#"{"action":"finish"}"#, "\"finish\" is no action"),
            (r#"{"action":"done","resaon":"x"}"#, "unknown field `resaon`"),
            (r#"{"action":"output","value":1}"#, "lacks its name"),
            (r#"{"action":"output","name":"a","value":1,"valueBase64":""}"#, "both value"),
            (r#"{"action":"output","name":"a","valueBase64":"?"}"#, "no base64"),
            (r#"{"action":"retry","after":"soon"}"#, "such as 30s"),
            (r#"{"action":"progress"}"#, "without done"),
        ] {
            let text = text_of(answer(&[line]));
            assert!(text.starts_with("HandlerAnswerInvalid") && text.contains(says), "{line}: {text}");
        }
    }

    #[test]
    fn the_protocol_documents_examples_are_actions() {
        let document = include_str!("../PROTOCOL.md");
        let examples = document.split("```ndjson\n").skip(1).flat_map(|part| part.split("```").next());
        let lines: Vec<_> = examples.flat_map(str::lines).collect();
        assert!(lines.len() >= 8, "{lines:?}");
        for line in lines {
            assert!(!text_of(answer(&[line])).contains("is no action"), "{line}");
        }
    }

    #[test]
    fn words_of_other_kinds_are_refused_by_name() {
        for action in ["reply", "state", "timer"] {
            let text = text_of(answer(&[&format!(r#"{{"action":"{action}","value":1}}"#)]));
            assert!(text.starts_with("HandlerActionUnsupported") && text.contains(action), "{text}");
        }
    }

    #[test]
    fn outputs_of_a_record_that_did_not_end_well_are_dropped() {
        let output = r#"{"action":"output","name":"a","value":1}"#;
        assert!(answer(&[output, r#"{"action":"retry"}"#]).outputs.is_empty());
        assert!(answer(&[output]).outputs.is_empty());
    }
}
