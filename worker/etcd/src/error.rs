//! What etcd's refusals mean to the engine. Up: the [crate](crate).

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use keyweir_engine::ports::StoreError;
use keyweir_engine::root_cause;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file with a certificate, a key or a password can't be read. A person must act.
    #[error("failed to read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no endpoint to connect to. A person must act.
    #[error("failed to find an endpoint: none is configured")]
    NoEndpoint,
    /// The server did not answer, or refused the login.
    #[error("failed to connect to {endpoint}")]
    Connect {
        /// The endpoint.
        endpoint: String,
        /// Why.
        #[source]
        source: etcd_client::Error,
    },
    /// The server did not answer in time.
    #[error("failed to connect to {endpoint} in time")]
    Late {
        /// The endpoint.
        endpoint: String,
    },
}

impl ConnectError {
    /// What it means to whoever wanted to do `act`.
    pub(crate) fn into_store_error(self, act: &'static str) -> StoreError {
        let refused = match &self {
            Self::File { .. } | Self::NoEndpoint => true,
            Self::Connect { source, .. } => kind(source) == Kind::Refused,
            Self::Late { .. } => false,
        };
        let source: Box<dyn Error + Send + Sync> = self.into();
        if refused { StoreError::Refused { act, source } } else { StoreError::Unreachable { act, source } }
    }
}

/// What etcd said, or the way to it, in their own words: those of the client's layers name no server and the cause thrice.
#[derive(Debug)]
struct Said {
    /// Who was asked, where it is known.
    endpoint: Option<String>,
    error: etcd_client::Error,
}

impl Error for Said {}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(endpoint) = &self.endpoint {
            write!(f, "{endpoint}: ")?;
        }
        let etcd_client::Error::GRpcStatus(status) = &self.error else {
            return write!(f, "{}", self.error);
        };
        match status.source().map(root_cause) {
            Some(cause) => write!(f, "{cause}"),
            None if status.message().is_empty() => write!(f, "{}", status.code()),
            None => f.write_str(status.message()),
        }
    }
}

/// No answer came within the deadline.
#[derive(Debug, thiserror::Error)]
#[error("failed to get an answer in time")]
pub(crate) struct Late;

/// An answer without a part that it must have.
#[derive(Debug, thiserror::Error)]
#[error("failed to read an answer: it has no {part}")]
pub(crate) struct Incomplete {
    pub(crate) part: &'static str,
}

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody is there, or the server is in trouble.
    Unreachable,
    Refused,
    Full,
    /// There is no such lease.
    LeaseGone,
    Compacted,
}

/// What a failed call of the client library means.
pub(crate) fn kind(error: &etcd_client::Error) -> Kind {
    match error {
        etcd_client::Error::GRpcStatus(status) => by_code(i32::from(status.code()), status.message()),
        // The library checks URLs, certificates and header values before it connects: a person must act.
        etcd_client::Error::InvalidArgs(_)
        | etcd_client::Error::InvalidUri(_)
        | etcd_client::Error::InvalidMetadataValue(_) => Kind::Refused,
        _ => Kind::Unreachable,
    }
}

/// By the numbers of gRPC's status codes; the text only where etcd uses one code for several things.
fn by_code(code: i32, text: &str) -> Kind {
    const INVALID_ARGUMENT: i32 = 3;
    const NOT_FOUND: i32 = 5;
    const PERMISSION_DENIED: i32 = 7;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const FAILED_PRECONDITION: i32 = 9;
    const OUT_OF_RANGE: i32 = 11;
    const UNAUTHENTICATED: i32 = 16;
    match code {
        PERMISSION_DENIED | UNAUTHENTICATED => Kind::Refused,
        // A wrong password and a missing login are told by these codes, beside much else.
        INVALID_ARGUMENT | FAILED_PRECONDITION if text.contains("auth") || text.contains("user") => {
            Kind::Refused
        }
        RESOURCE_EXHAUSTED if text.contains("space") => Kind::Full,
        NOT_FOUND if text.contains("lease") => Kind::LeaseGone,
        OUT_OF_RANGE if text.contains("compacted") => Kind::Compacted,
        _ => Kind::Unreachable,
    }
}

/// Whether the server ended a watch because of who asked for it; it says so in words only.
pub(crate) fn is_refusal(reason: &str) -> bool {
    ["permission denied", "auth", "user"].iter().any(|word| reason.contains(word))
}

/// A failed call, in the engine's words. `from` is the revision that was asked for, if one was; `endpoint` is who was
/// asked, where that is known.
pub(crate) fn store_error(
    act: &'static str,
    from: u64,
    endpoint: Option<&str>,
    error: etcd_client::Error,
) -> StoreError {
    let kind = kind(&error);
    let source: Box<dyn Error + Send + Sync> = Said { endpoint: endpoint.map(str::to_owned), error }.into();
    match kind {
        Kind::Unreachable => StoreError::Unreachable { act, source },
        Kind::Refused => StoreError::Refused { act, source },
        Kind::Full => StoreError::Full { act, source },
        Kind::LeaseGone => StoreError::LeaseGone,
        Kind::Compacted => StoreError::Compacted { from },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_refusals_are_told_apart() {
        let cases = [
            (3, "etcdserver: authentication failed, invalid user ID or password", Kind::Refused),
            (9, "etcdserver: authentication is not enabled", Kind::Refused),
            (3, "etcdserver: duplicate key given in txn request", Kind::Unreachable),
            (7, "etcdserver: permission denied", Kind::Refused),
            (16, "etcdserver: invalid auth token", Kind::Refused),
            (8, "etcdserver: mvcc: database space exceeded", Kind::Full),
            (8, "etcdserver: too many requests", Kind::Unreachable),
            (5, "etcdserver: requested lease not found", Kind::LeaseGone),
            (11, "etcdserver: mvcc: required revision has been compacted", Kind::Compacted),
            (14, "etcdserver: leader changed", Kind::Unreachable),
        ];
        for (code, text, kind) in cases {
            assert_eq!(by_code(code, text), kind, "{text}");
        }
    }
}
