//! The greeting: both sides prove that they know the object's secret, before anything else is said. Up: the [crate](crate).
//!
//! ```text
//!  owner                                                   target
//!    │── Hello {versions, object, from, to, nonce} + proof ──▶│  a stranger ends here
//!    │◀─ Challenge {version, nonce} + proof ──────────────────│
//!    │── proof of both ──────────────────────────────────────▶│  a repeated Hello ends here
//!    │◀═ Welcome ═════════════════════════════════════════════│  from here on all is sealed
//! ```
//! A part is its length (`u16`), JSON, and a proof over all that was said so far.

use std::io;

use keyweir_core::MemberId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::exchange::Exchange;
use crate::frame::Frame;
use crate::seal::{Secret, SecretError, TAG_BYTES, nonce};
use crate::{Stream, VERSIONS};

/// No part of a greeting is longer: strangers may send anything.
const LONGEST: usize = 4096;

/// Why a wire is not there, or not any more.
#[derive(Debug, Error)]
pub enum WireError {
    /// Nobody answers there.
    #[error("failed to reach {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream broke.
    #[error("failed to read or write the wire")]
    Broken(#[source] io::Error),
    /// The other side has closed it.
    #[error("failed to go on: the other side has closed the wire")]
    Closed,
    /// The other side does not know the secret.
    #[error("failed to recognise the other side: it does not know the secret of the object")]
    Stranger,
    /// The other side is another member, or of another object.
    #[error("failed to meet: the greeting is for {to} of {object}")]
    Misdirected {
        /// Whom it was for.
        to: MemberId,
        /// The prefix of its object.
        object: String,
    },
    /// There is no version that both speak.
    #[error("failed to agree on a version of the wire: theirs are {0} to {1}")]
    Version(u16, u16),
    /// What was said is no frame.
    #[error("failed to understand the other side")]
    Garbage,
    /// There is no secret to prove.
    #[error("failed to have a secret")]
    Secret(#[source] SecretError),
    /// The system gives no random numbers.
    #[error("failed to draw a random number")]
    Chance,
    /// Nothing was heard for too long.
    #[error("failed to hear from the other side in time")]
    Silent,
    /// The owner did not renew the grant, or the lease of this member is over.
    #[error("failed to go on: the grant is over")]
    GrantOver,
}

/// Who wants what of whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    versions: (u16, u16),
    /// The prefix of the object.
    pub(crate) object: String,
    pub(crate) from: MemberId,
    pub(crate) to: MemberId,
    nonce: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
struct Challenge {
    version: u16,
    nonce: [u8; 32],
}

impl Hello {
    pub(crate) fn new(object: &str, from: MemberId, to: MemberId) -> Result<Self, WireError> {
        let nonce = nonce().map_err(|_| WireError::Chance)?;
        Ok(Self { versions: VERSIONS, object: object.to_owned(), from, to, nonce })
    }
}

/// Greets a target: ends with its welcome.
pub(crate) async fn greet(
    mut stream: Box<dyn Stream>,
    secret: &Secret,
    hello: &Hello,
) -> Result<Exchange, WireError> {
    let hello = text(hello);
    send(&mut stream, &hello, &secret.prove("hello", &[&hello])).await?;
    let (challenge, proof) = receive(&mut stream).await?;
    if !secret.is_proof("challenge", &[&hello, &challenge], &proof) {
        return Err(WireError::Stranger);
    }
    let Challenge { version, .. } = read(&challenge)?;
    if !(VERSIONS.0..=VERSIONS.1).contains(&version) {
        return Err(WireError::Version(version, version));
    }
    let said: [&[u8]; 2] = [&hello, &challenge];
    send(&mut stream, b"", &secret.prove("answer", &said)).await?;
    let (near, far) = (secret.seal("to the target", &said), secret.seal("to the owner", &said));
    let mut exchange = Exchange::new(stream, near, far);
    loop {
        match exchange.hear()? {
            Some(Frame::Welcome) => return Ok(exchange),
            Some(_) => return Err(WireError::Garbage),
            None => exchange.carry().await?,
        }
    }
}

/// Hears out who comes; it is not welcome yet. `is_ours` says whether this is the object and the member it wants.
pub(crate) async fn meet(
    mut stream: Box<dyn Stream>,
    secret: &Secret,
    is_ours: impl FnOnce(&Hello) -> bool,
) -> Result<(Hello, Exchange), WireError> {
    let (hello, proof) = receive(&mut stream).await?;
    if !secret.is_proof("hello", &[&hello], &proof) {
        return Err(WireError::Stranger);
    }
    let given: Hello = read(&hello)?;
    let (oldest, newest) = given.versions;
    let version = newest.min(VERSIONS.1);
    if version < oldest.max(VERSIONS.0) {
        return Err(WireError::Version(oldest, newest));
    }
    if !is_ours(&given) {
        return Err(WireError::Misdirected { to: given.to, object: given.object });
    }
    let challenge = text(&Challenge { version, nonce: nonce().map_err(|_| WireError::Chance)? });
    let said: [&[u8]; 2] = [&hello, &challenge];
    send(&mut stream, &challenge, &secret.prove("challenge", &said)).await?;
    let (_, proof) = receive(&mut stream).await?;
    if !secret.is_proof("answer", &said, &proof) {
        return Err(WireError::Stranger);
    }
    let (near, far) = (secret.seal("to the owner", &said), secret.seal("to the target", &said));
    Ok((given, Exchange::new(stream, near, far)))
}

async fn send(stream: &mut Box<dyn Stream>, part: &[u8], proof: &[u8]) -> Result<(), WireError> {
    let length = u16::try_from(part.len()).map_err(|_| WireError::Garbage)?;
    let whole = [&length.to_le_bytes(), part, proof].concat();
    stream.write_all(&whole).await.map_err(WireError::Broken)
}

/// A part and its proof.
async fn receive(stream: &mut Box<dyn Stream>) -> Result<(Vec<u8>, Vec<u8>), WireError> {
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => WireError::Closed,
        _ => WireError::Broken(error),
    };
    let length = usize::from(stream.read_u16_le().await.map_err(broken)?);
    if length > LONGEST {
        return Err(WireError::Stranger);
    }
    let mut part = vec![0; length + TAG_BYTES];
    stream.read_exact(&mut part).await.map_err(broken)?;
    let proof = part.split_off(length);
    Ok((part, proof))
}

fn text<T: Serialize>(part: &T) -> Vec<u8> {
    // Plain data always serialises; an empty part would be garbage to the other side.
    serde_json::to_vec(part).unwrap_or_default()
}

fn read<T: DeserializeOwned>(part: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(part).map_err(|_| WireError::Garbage)
}
