//! What the client library says on its own: log lines and errors of a whole client.
//!
//! Log lines go to `tracing` under the target `librdkafka`; an error that concerns the whole client is kept for
//! whoever serves it. Nothing here decides what follows. Up: [`crate::intake`], [`crate::cold`].

use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{Trouble, trouble};

/// The listener of one client.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// The last error that concerned all brokers. Written by the thread that serves the client, taken by the same
    /// one; a lock only because the library asks for a shared reference.
    trouble: Mutex<Option<KafkaError>>,
}

impl Context {
    /// The trouble since the last call.
    pub(crate) fn take_trouble(&self) -> Option<KafkaError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client reports trouble");
        let Some(meaning) = concerns_all(&error) else { return };
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // Brokers that refuse a login are also all down: what a person must act on is kept.
        if meaning.is_refusal() || known.is_none() {
            *known = Some(error);
        }
    }

    fn stats_raw(&self, _json: &[u8]) {}
}

impl ConsumerContext for Context {}

/// What it means when it concerns the whole client: one broker's lost connection is routine.
fn concerns_all(error: &KafkaError) -> Option<Trouble> {
    let code = error.rdkafka_error_code()?;
    let meaning = trouble(code);
    let is_all = matches!(code, RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Fatal);
    (is_all || meaning.is_refusal()).then_some(meaning)
}
