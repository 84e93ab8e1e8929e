//! What the client library says on its own: log lines and errors of a whole client.
//!
//! Log lines go to `tracing` under the target `librdkafka`; an error that concerns the whole client is kept for
//! whoever serves it. Nothing here decides what follows. Up: [`crate::intake`], [`crate::cold`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{Trouble, trouble};

/// The listener of one client. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// The last error that concerned all brokers. Written by the thread that serves the client, taken by the same
    /// one; a lock only because the library asks for a shared reference.
    trouble: Arc<Mutex<Option<KafkaError>>>,
    /// Why a connection failed last, and when: the errors themselves say only that it did.
    heard: Arc<Mutex<Option<(String, Instant)>>>,
}

/// How long a failed connection may explain an error: a broker that stays away is heard of more often.
const FRESH: Duration = Duration::from_secs(60);

impl Context {
    /// Why no connection could be made, or none lasts, as far as that was heard.
    pub(crate) fn heard(&self) -> Option<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.as_ref().filter(|(_, at)| at.elapsed() < FRESH).map(|(why, _)| why.clone())
    }

    /// The trouble since the last call.
    pub(crate) fn take_trouble(&self) -> Option<KafkaError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "FAIL" {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            *heard = Some((plain(line), Instant::now()));
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{line}");
            }
            // A connection that ends is routine; where it matters, the trouble says so.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if line.contains("Disconnected") => {
                tracing::info!(target: "librdkafka", facility, "{line}");
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

/// `[thrd:NAME/bootstrap]: NAME/bootstrap: why (after 0ms in state CONNECT)` without what only its authors understand.
fn plain(line: &str) -> String {
    let line = line.split_once("]: ").map_or(line, |(_, line)| line);
    let Some((line, state)) = line.rsplit_once(" (after ") else { return line.to_owned() };
    let soon = state
        .split_once("ms")
        .and_then(|(since, _)| since.parse().ok())
        .is_some_and(|since: u64| since < 2000);
    let hint = match line.contains("Disconnected: connection closed") && soon {
        true if state.contains("APIVERSION_QUERY") => "; a broker that wants TLS does that",
        true if state.contains("state UP") => "; a broker that wants a login does that",
        _ => "",
    };
    format!("{line}{hint}")
}

/// What it means when it concerns the whole client: one broker's lost connection is routine.
fn concerns_all(error: &KafkaError) -> Option<Trouble> {
    let code = error.rdkafka_error_code()?;
    let meaning = trouble(code);
    let is_all = matches!(code, RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Fatal);
    (is_all || meaning.is_refusal()).then_some(meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_connection_failed_is_heard_without_the_librarys_own_words() {
        let context = Context::default();
        assert_eq!(context.heard(), None);
        let line = "[thrd:kafka:9092/bootstrap]: kafka:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection \
                    refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)";
        context.log(RDKafkaLogLevel::Error, "FAIL", line);
        context.log(RDKafkaLogLevel::Info, "OTHER", "of no use");
        let heard = "kafka:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused";
        assert_eq!(context.heard().as_deref(), Some(heard));
        let line = "[thrd:kafka:9093/bootstrap]: kafka:9093/bootstrap: Disconnected: connection closed by peer: receive 0 \
                    after POLLIN (after 2ms in state APIVERSION_QUERY)";
        assert!(plain(line).ends_with("a broker that wants TLS does that"), "{}", plain(line));
        let line = "kafka:9092/1: Disconnected: connection closed by peer (after 90000ms in state UP)";
        assert_eq!(plain(line), "kafka:9092/1: Disconnected: connection closed by peer");
    }
}
