//! What an error of the client library means to the engine: who must act, and whether waiting helps.
//!
//! The one place that reads the library's codes. Up: every adapter of this crate.

use std::error::Error;
use std::fmt;

use keyweir_engine::ports::SourceError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::ConfigError;

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
struct Said(KafkaError);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RDKafkaErrorCode as Code;
        match self.0.rdkafka_error_code() {
            Some(
                code @ (Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::MessageTimedOut),
            ) => write!(f, "no broker answers: see that one runs there and can be reached; {code}"),
            Some(code) => write!(f, "{code}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Error for Said {}

/// An error of the library as a cause.
pub(crate) fn cause(error: KafkaError) -> Box<dyn Error + Send + Sync> {
    Said(error).into()
}

/// The engine's word for an error about `what`.
pub(crate) fn source_error(what: impl Into<String>, error: KafkaError) -> SourceError {
    let what = what.into();
    match error.rdkafka_error_code().map(trouble) {
        Some(Trouble::Missing) => SourceError::Missing { what },
        Some(Trouble::Unauthenticated) => SourceError::Unauthenticated { what, source: cause(error) },
        Some(Trouble::Refused) => SourceError::Refused { what, source: cause(error) },
        Some(Trouble::Unreachable) | None => SourceError::Unreachable { what, source: cause(error) },
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
