//! What an error of the client library means to the engine: who must act, and whether waiting helps.
//!
//! The one place that reads the library's codes. Up: every adapter of this crate.

use std::error::Error;
use std::fmt;

use keyweir_engine::ports::SourceError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::ConfigError;
use crate::context::Context;

/// The kinds of trouble an error may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Waiting helps.
    Unreachable,
    /// The topic or partition is not there.
    Missing,
    /// The login is refused: a person must act.
    Unauthenticated,
    /// The login may not do this: a person must act.
    Refused,
}

/// What a code of the library means.
pub(crate) fn trouble(code: RDKafkaErrorCode) -> Trouble {
    use RDKafkaErrorCode as Code;
    match code {
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId => Trouble::Missing,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::InvalidTopic
        | Code::UnknownMemberId
        | Code::OffsetMetadataTooLarge => Trouble::Refused,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL => Trouble::Unauthenticated,
        _ => Trouble::Unreachable,
    }
}

impl Trouble {
    /// Whether a person must act.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::Refused)
    }
}

/// Whether a code says that stored records can't be decoded.
pub(crate) fn is_damage(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::NotImplemented
    )
}

/// What the library says, once, and what to do where nobody answers. The library's own error repeats itself as its
/// cause.
#[derive(Debug)]
struct Said {
    error: KafkaError,
    /// Why a connection failed, where that was heard.
    heard: Option<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RDKafkaErrorCode as Code;
        let Some(code) = self.error.rdkafka_error_code() else { return write!(f, "{}", self.error) };
        let heard = self.heard.as_deref();
        match code {
            // A topic that is missing, or has no leader, ends so too.
            Code::MessageTimedOut if heard.is_none() => f.write_str(
                "nobody has acknowledged it in time: see that the topic is there and its brokers answer",
            ),
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::MessageTimedOut => {
                let why = heard.map_or_else(|| code.to_string(), str::to_owned);
                write!(
                    f,
                    "no broker answers: see that one runs there, can be reached and speaks as `tls` and `sasl` say; {why}"
                )
            }
            Code::SSL => {
                write!(f, "see `tls`: the authority and the certificate; {}", heard.unwrap_or("SSL error"))
            }
            Code::Authentication => write!(f, "see `sasl`: {}", heard.unwrap_or("the login is refused")),
            Code::UnknownTopic | Code::UnknownTopicOrPartition => {
                write!(f, "there is no such topic: create it; {code}")
            }
            _ => write!(f, "{code}"),
        }
    }
}

impl Error for Said {}

/// An error of the library as a cause; `context` may have heard why.
pub(crate) fn cause(error: KafkaError, context: Option<&Context>) -> Box<dyn Error + Send + Sync> {
    Said { error, heard: context.and_then(Context::heard) }.into()
}

/// The engine's word for an error about `what`.
pub(crate) fn source_error(what: impl Into<String>, error: KafkaError) -> SourceError {
    source_error_of(what, error, None)
}

/// The same, of a client that may have heard why.
pub(crate) fn source_error_of(
    what: impl Into<String>,
    error: KafkaError,
    context: Option<&Context>,
) -> SourceError {
    let what = what.into();
    match error.rdkafka_error_code().map(trouble) {
        Some(Trouble::Missing) => SourceError::Missing { what },
        Some(Trouble::Unauthenticated) => {
            SourceError::Unauthenticated { what, source: cause(error, context) }
        }
        Some(Trouble::Refused) => SourceError::Refused { what, source: cause(error, context) },
        Some(Trouble::Unreachable) | None => SourceError::Unreachable { what, source: cause(error, context) },
    }
}

/// Settings that can't be used are nothing that waiting helps, unless a secret's file is still to come.
pub(crate) fn config_error(what: impl Into<String>, error: ConfigError) -> SourceError {
    let what = what.into();
    match error {
        ConfigError::Secret { .. } => SourceError::Unreachable { what, source: error.into() },
        _ => SourceError::Refused { what, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_broker_is_told_once_with_what_to_do() {
        let error = source_error("127.0.0.1:1", KafkaError::Global(RDKafkaErrorCode::AllBrokersDown));
        let text = keyweir_engine::error_chain(&error);
        assert_eq!(text.matches("AllBrokersDown").count(), 1, "{text}");
        assert!(text.contains("see that one runs there"), "{text}");
    }

    #[test]
    fn a_record_that_nobody_acknowledges_is_no_missing_broker() {
        let text = cause(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut), None).to_string();
        assert!(text.contains("see that the topic is there"), "{text}");
    }

    #[test]
    fn only_what_waiting_cures_is_retryable() {
        let of = |code| source_error("t", KafkaError::Global(code));
        assert_eq!(of(RDKafkaErrorCode::UnknownTopicOrPartition).reason(), "TopicMissing");
        assert_eq!(of(RDKafkaErrorCode::TopicAuthorizationFailed).reason(), "NotAuthorized");
        assert_eq!(of(RDKafkaErrorCode::SaslAuthenticationFailed).reason(), "AuthenticationFailed");
        assert!(!of(RDKafkaErrorCode::Authentication).is_retryable());
        assert!(of(RDKafkaErrorCode::AllBrokersDown).is_retryable());
        assert!(source_error("t", KafkaError::Canceled).is_retryable());
    }
}
