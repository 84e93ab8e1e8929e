//! Many records in one request: CloudEvents' JSON batch there, lines that each name a record's `id` back.
//!
//! Each event has the attributes of [`super::event`] (`offset` as a text: it may be beyond what an Integer holds),
//! its value in `data_base64`, and the record's headers as one JSON text in `headers`.
//!
//! - No body = all are done. A record that no line ends = retry.
//! - A line that is none, or about a record that was not asked about or has ended, is logged and harms nobody.
//! - An answer that says nothing at all (an error status, a lost connection, no line that counts) fails the batch as
//!   a whole: nobody is charged, the engine asks one by one.
//!
//! Up: [`super`].

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use keyweir_engine::ports::Request;
use keyweir_engine::{Failure, Outcome, Verdict};
use serde_json::{Map, Value};
use tracing::warn;

use super::event::{Events, post, time_left, time_left_name};
use super::{Body, Exchange, HttpHandler, LineStream, SendError};
use crate::answer::{Answer, Line, failed, invalid};
use crate::id::record_id;
use crate::time::rfc3339;

impl HttpHandler {
    /// Handles records in one request. `Err` = the batch failed as a whole.
    pub(crate) async fn handle_batch(&self, requests: Vec<Request>) -> Result<Vec<Outcome>, Failure> {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(HOST, self.target.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents-batch+json"));
        if let Some(left) = requests.iter().filter_map(|request| request.time_left).min() {
            headers.insert(time_left_name(), time_left(left));
        }
        let body = write(&self.events, &requests);
        let mut exchange = match self.connections.send(post(&self.target, headers, body)).await {
            Ok(exchange) => exchange,
            Err(SendError::Unreachable(failure)) => {
                return Ok(all(&requests, &Outcome::from(Verdict::Unavailable { after: None, failure })));
            }
            Err(SendError::Lost(failure)) => return Err(failure),
        };
        if !exchange.head.status.is_success() {
            return match self.refusal(exchange).await {
                verdict @ Verdict::Unavailable { .. } => Ok(all(&requests, &Outcome::from(verdict))),
                Verdict::Retry { failure, .. } | Verdict::Reject(failure) => Err(failure),
                Verdict::Done => Ok(all(&requests, &Outcome::DONE)),
            };
        }
        let outcomes = match self.body(&exchange) {
            Body::None => all(&requests, &Outcome::DONE),
            Body::Actions => self.sort(&mut exchange, &requests).await?,
            Body::Other => {
                self.emptiness(&mut exchange).await?;
                all(&requests, &Outcome::DONE)
            }
        };
        exchange.keep();
        Ok(outcomes)
    }

    /// Gives each line to the record it names.
    async fn sort(&self, exchange: &mut Exchange<'_>, requests: &[Request]) -> Result<Vec<Outcome>, Failure> {
        let mut sorted = Sorted::new(requests);
        let mut stream = LineStream::new(self, exchange);
        let failure = loop {
            match stream.next().await {
                Ok(Some(bytes)) => sorted.line(&bytes),
                Ok(None) => break None,
                Err(failure) => break Some(failure),
            }
            if sorted.open == 0 {
                break None;
            }
        };
        sorted.finish(failure)
    }
}

/// Answers by record.
struct Sorted {
    places: HashMap<String, usize>,
    answers: Vec<(Answer, bool)>,
    /// Records that have not ended.
    open: usize,
    /// The first line that counted for nothing, and how many there were.
    stray: Option<Failure>,
    strays: usize,
}

impl Sorted {
    fn new(requests: &[Request]) -> Self {
        let places =
            requests.iter().enumerate().map(|(place, request)| (record_id(request), place)).collect();
        let answers = requests.iter().map(|_| (Answer::default(), false)).collect();
        Self { places, answers, open: requests.len(), stray: None, strays: 0 }
    }

    fn line(&mut self, bytes: &[u8]) {
        if let Err(failure) = self.take(bytes) {
            self.strays += 1;
            self.stray.get_or_insert(failure);
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let line = Line::read(bytes)?;
        let Some(id) = line.id.as_deref() else { return Err(invalid("a line lacks the record's id")) };
        let place = self.places.get(id).copied();
        let place =
            place.ok_or_else(|| invalid(format!("a line is about {id:?}, which was not asked about")))?;
        let (answer, ended) = &mut self.answers[place];
        if *ended {
            return Err(invalid(format!("a line is about {id:?}, which has ended before")));
        }
        if answer.take(line)? {
            *ended = true;
            self.open -= 1;
        }
        Ok(())
    }

    fn finish(self, failure: Option<Failure>) -> Result<Vec<Outcome>, Failure> {
        if let Some(stray) = &self.stray {
            warn!(lines = self.strays, first = %stray, "the answer to a batch has lines that count for nothing");
        }
        let silent = self.answers.iter().all(|(answer, _)| answer.is_empty());
        let first = failure.as_ref().or(self.stray.as_ref());
        if let Some(failure) = first.filter(|_| silent) {
            return Err(failure.clone());
        }
        let finish = |(answer, ended): (Answer, bool)| match &failure {
            Some(failure) if !ended => failed(failure.clone()),
            _ => answer.finish(),
        };
        Ok(self.answers.into_iter().map(finish).collect())
    }
}

fn all(requests: &[Request], outcome: &Outcome) -> Vec<Outcome> {
    vec![outcome.clone(); requests.len()]
}

/// The batch as CloudEvents write it.
fn write(events: &Events, requests: &[Request]) -> Bytes {
    let weight: usize = requests.iter().map(|request| request.record.weight() * 4 / 3 + 512).sum();
    let mut json = Vec::with_capacity(weight);
    json.push(b'[');
    for (place, request) in requests.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write_event(&mut json, events, request);
    }
    json.push(b']');
    Bytes::from(json)
}

fn write_event(json: &mut Vec<u8>, events: &Events, request: &Request) {
    let record = &request.record;
    json.extend_from_slice(b"{\"specversion\":\"1.0\"");
    text(json, "id", &record_id(request));
    text(json, "source", &format!("{}/{}", events.origin, request.shard.stream));
    text(json, "type", events.type_of(record));
    if let Some(time) = rfc3339(record.timestamp).filter(|_| record.timestamp >= 0) {
        text(json, "time", &time);
    }
    text(json, "topic", &request.shard.stream);
    number(json, "partition", request.shard.index);
    text(json, "offset", &record.offset.to_string());
    number(json, "attempt", request.attempt.0);
    text(json, "fence", &request.fence.to_string());
    match record.key().map(|key| std::str::from_utf8(key).map_err(|_| key)) {
        None => text(json, "keyencoding", "none"),
        Some(Ok(key)) => {
            text(json, "keyencoding", "text");
            if !key.is_empty() {
                text(json, "partitionkey", key);
            }
        }
        Some(Err(key)) => {
            text(json, "keyencoding", "base64");
            text(json, "partitionkeybase64", &STANDARD.encode(key));
        }
    }
    write_headers(json, events, request);
    match record.value() {
        Some(value) => {
            json.extend_from_slice(b",\"data_base64\":\"");
            json.extend_from_slice(STANDARD.encode(value).as_bytes());
            json.push(b'"');
        }
        None => json.extend_from_slice(b",\"nullvalue\":true"),
    }
    json.push(b'}');
}

fn write_headers(json: &mut Vec<u8>, events: &Events, request: &Request) {
    let mut content_type = None;
    let mut others = Map::new();
    for (name, value) in request.record.headers() {
        let Some(value) = value else { continue };
        let value = String::from_utf8_lossy(value);
        match name {
            "traceparent" | "tracestate" => text(json, name, &value),
            _ if name.eq_ignore_ascii_case("content-type") => content_type = Some(value),
            _ if name == events.type_header => {}
            _ => {
                others.insert(name.to_owned(), Value::from(value));
            }
        }
    }
    text(json, "datacontenttype", content_type.as_deref().unwrap_or(events.content_type));
    if !others.is_empty() {
        text(json, "headers", &Value::Object(others).to_string());
    }
}

fn text(json: &mut Vec<u8>, name: &str, value: &str) {
    json.extend_from_slice(b",\"");
    json.extend_from_slice(name.as_bytes());
    json.extend_from_slice(b"\":");
    // Writing a text into a vector cannot fail.
    let _ = serde_json::to_writer(json, value);
}

fn number(json: &mut Vec<u8>, name: &str, value: u32) {
    json.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
}
