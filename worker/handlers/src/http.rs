//! Handlers that are web services: one POST for a record, or for a batch.
//!
//! ```text
//!  record ─▶ event ─▶ connections ─▶ status ─ 2xx, no body ──▶ done
//!                        │ refused      ├─── 2xx, x-ndjson ──▶ actions, as they arrive
//!                        ▼ unavailable  └─── else ───────────▶ by the status alone
//! ```
//!
//! Any other body of a 2xx is a failed attempt: a login page or a proxy's greeting must not count as done. Dropping a
//! call closes its connection, which is how the service learns of it. Up: [`crate::AnyHandler`].

mod batch;
mod connections;
mod event;
mod status;
mod target;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use keyweir_contract::handler::HandlerOptions;
use keyweir_contract::policy::{Decode, DecodeFormat};
use keyweir_engine::ports::{BatchLimits, Request};
use keyweir_engine::{Failure, Outcome, Verdict};
use thiserror::Error;
use tokio::time::timeout;

use self::connections::{Connections, Exchange, SendError};
use self::event::Events;
use self::target::Target;
pub use self::target::UrlError;
use crate::answer::{Answer, Line, failed, invalid, start_of};
use crate::lines::Lines;
use crate::reason;

/// Bytes of an answer that is no success, for a person to read.
const SAID_BYTES: usize = 256;
/// How long such an answer's body is waited for.
const SAID_TIME: Duration = Duration::from_secs(1);

/// Why an http handler can't be had.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The URL is none.
    #[error("failed to read the handler's url")]
    Url(#[source] UrlError),
    /// There are no authorities to trust, or the host is no name that a certificate can have.
    #[error("failed to prepare TLS towards the handler")]
    Tls(#[source] Option<rustls::Error>),
}

/// A web service that handles records.
pub(crate) struct HttpHandler {
    target: Target,
    connections: Connections,
    events: Events,
    answer_bytes: usize,
    silence: Option<Duration>,
    batch: BatchLimits,
}

impl HttpHandler {
    /// The service at this URL; nothing is connected yet. `origin` is `/namespace/object`.
    pub(crate) fn new(
        url: &str,
        options: &HandlerOptions,
        decode: &Decode,
        origin: String,
    ) -> Result<Self, HttpError> {
        let target = Target::read(url).map_err(HttpError::Url)?;
        let tls = if target.tls {
            Some(Arc::new(trust().map_err(|error| HttpError::Tls(Some(error)))?))
        } else {
            None
        };
        let connections = Connections::new(target.clone(), tls).ok_or(HttpError::Tls(None))?;
        let content_type = match decode.format {
            DecodeFormat::Raw => "application/octet-stream",
            DecodeFormat::Json | DecodeFormat::Streamback => "application/json",
            DecodeFormat::String => "text/plain; charset=utf-8",
        };
        let type_header = decode.record_type_header.clone();
        let batch = options.batch.map_or(BatchLimits::ONE, |batch| BatchLimits {
            max_records: usize::try_from(batch.max_records.max(1)).unwrap_or(1),
            linger: batch.linger,
        });
        Ok(Self {
            target,
            connections,
            events: Events { origin, type_header, content_type },
            answer_bytes: usize::try_from(options.max_response_bytes.get()).unwrap_or(usize::MAX),
            silence: options.heartbeat.map(|heartbeat| heartbeat * 3),
            batch,
        })
    }

    /// How many records one request may carry.
    pub(crate) fn batch(&self) -> BatchLimits {
        self.batch
    }

    /// Makes sure that the service can be connected to.
    pub(crate) async fn reach(&self) -> Result<(), Failure> {
        self.connections.reach().await
    }

    /// Closes what is idle.
    pub(crate) fn close(&self) {
        self.connections.close();
    }

    /// Handles a record.
    pub(crate) async fn handle(&self, request: Request) -> Outcome {
        let event = self.events.request(&self.target, &request);
        let mut exchange = match self.connections.send(event).await {
            Ok(exchange) => exchange,
            Err(SendError::Unreachable(failure)) => {
                return Outcome::from(Verdict::Unavailable { after: None, failure });
            }
            Err(SendError::Lost(failure)) => return failed(failure),
        };
        if !exchange.head.status.is_success() {
            return Outcome::from(self.refusal(exchange).await);
        }
        let id = crate::id::record_id(&request);
        let answered = match self.body(&exchange) {
            Body::None => Ok(Outcome::DONE),
            Body::Actions => self.actions(&mut exchange, &id).await,
            Body::Other => self.emptiness(&mut exchange).await.map(|()| Outcome::DONE),
        };
        match answered {
            Ok(outcome) => {
                exchange.keep();
                outcome
            }
            Err(failure) => failed(failure),
        }
    }

    /// What an answer that is no success means. Its connection is not used again unless its body was short.
    async fn refusal(&self, mut exchange: Exchange<'_>) -> Verdict {
        let mut said = Vec::new();
        let reading = async {
            while said.len() < SAID_BYTES {
                match exchange.chunk().await {
                    Ok(Some(bytes)) => said.extend_from_slice(&bytes[..bytes.len().min(SAID_BYTES)]),
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
            false
        };
        let ended = timeout(SAID_TIME, reading).await.unwrap_or(false);
        let verdict = status::verdict(&exchange.head, &start_of(&said));
        if ended {
            exchange.keep();
        }
        verdict
    }

    /// What kind of body a success has.
    fn body(&self, exchange: &Exchange<'_>) -> Body {
        let head = &exchange.head;
        if matches!(head.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) || exchange.is_empty() {
            return Body::None;
        }
        match head.headers.get(CONTENT_TYPE).map(|value| essence(value.as_bytes())) {
            Some(essence) if essence.eq_ignore_ascii_case(b"application/x-ndjson") => Body::Actions,
            _ => Body::Other,
        }
    }

    /// Makes sure that a body without meaning is none.
    async fn emptiness(&self, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
        match self.chunk(exchange).await? {
            None => Ok(()),
            Some(bytes) => {
                let kind = exchange.head.headers.get(CONTENT_TYPE).map_or_else(
                    || Cow::Borrowed("no type"),
                    |kind| String::from_utf8_lossy(kind.as_bytes()),
                );
                Err(invalid(format!(
                    "answered {} with a body ({kind}): send none, or actions as application/x-ndjson; it starts {:?}",
                    exchange.head.status,
                    start_of(&bytes)
                )))
            }
        }
    }

    /// Reads actions about one record until it ends.
    async fn actions(&self, exchange: &mut Exchange<'_>, id: &str) -> Result<Outcome, Failure> {
        let mut answer = Answer::default();
        let mut stream = LineStream::new(self, exchange);
        while let Some(bytes) = stream.next().await? {
            let line = Line::read(&bytes)?;
            if let Some(other) = line.id.as_deref().filter(|other| *other != id) {
                return Err(invalid(format!("the answer is about record {other:?}, not {id:?}")));
            }
            if answer.take(line)? {
                break;
            }
        }
        Ok(answer.finish())
    }

    /// The next piece of a body, with a sign of life in time.
    async fn chunk(&self, exchange: &mut Exchange<'_>) -> Result<Option<Bytes>, Failure> {
        match self.silence {
            None => exchange.chunk().await,
            Some(silence) => timeout(silence, exchange.chunk()).await.unwrap_or_else(|_| {
                Err(Failure::new(reason::STUCK, "the handler missed three signs of life in a row"))
            }),
        }
    }
}

/// What a success carries.
enum Body {
    None,
    Actions,
    Other,
}

/// The lines of a body, within the limit of an answer.
struct LineStream<'a, 'b> {
    handler: &'a HttpHandler,
    exchange: &'a mut Exchange<'b>,
    lines: Lines,
    received: usize,
    ended: bool,
}

impl<'a, 'b> LineStream<'a, 'b> {
    fn new(handler: &'a HttpHandler, exchange: &'a mut Exchange<'b>) -> Self {
        Self { handler, exchange, lines: Lines::new(handler.answer_bytes), received: 0, ended: false }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let limit = self.handler.answer_bytes;
        let too_large = || {
            Failure::new(
                reason::ANSWER_TOO_LARGE,
                format!("the answer is longer than {limit} bytes (maxResponseBytes)"),
            )
        };
        loop {
            if let Some(line) = self.lines.next().map_err(|_| too_large())? {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.handler.chunk(self.exchange).await? {
                Some(bytes) => {
                    self.received = self.received.saturating_add(bytes.len());
                    if self.received > limit {
                        return Err(too_large());
                    }
                    self.lines.extend(&bytes);
                }
                None => {
                    self.ended = true;
                    if let Some(line) = self.lines.rest() {
                        return Ok(Some(line));
                    }
                }
            }
        }
    }
}

/// A content type without its parameters.
fn essence(content_type: &[u8]) -> &[u8] {
    content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// TLS that trusts what the system trusts.
fn trust() -> Result<rustls::ClientConfig, rustls::Error> {
    use rustls_platform_verifier::BuilderVerifierExt as _;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_platform_verifier()?.with_no_client_auth())
}
