//! The secret that members share, and what is made of it: proofs at the greeting, seals of packets.
//!
//! HMAC-SHA256 throughout. It is compared in constant time. A seal counts packets, so that none can be left out, doubled
//! or put elsewhere. Nothing is hidden: who may read the network reads records. Up: the [crate](crate).

use ring::hmac::{self, HMAC_SHA256, Key};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// Bytes of a proof and of a seal.
pub(crate) const TAG_BYTES: usize = 32;

/// A shorter secret can be guessed.
const SHORTEST: usize = 16;

/// The secret that the members of one object share.
#[derive(Debug, Clone)]
pub struct Secret(Key);

/// Why there is no secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// Its file can't be read.
    #[error("failed to read the secret of the wire, {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It can be guessed.
    #[error("failed to take the secret of the wire: want at least {SHORTEST} bytes")]
    Short,
}

impl Secret {
    /// The secret with these bytes; white space at its ends does not count.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < SHORTEST { Err(SecretError::Short) } else { Ok(Self(Key::new(HMAC_SHA256, bytes))) }
    }

    /// Proves that the secret is known, for one purpose and what was said so far.
    pub(crate) fn prove(&self, purpose: &str, said: &[&[u8]]) -> [u8; TAG_BYTES] {
        sign(&self.0, purpose.as_bytes(), said)
    }

    /// Whether that is the proof.
    pub(crate) fn is_proof(&self, purpose: &str, said: &[&[u8]], proof: &[u8]) -> bool {
        self.prove(purpose, said)[..].ct_eq(proof).into()
    }

    /// The key by which one direction of a stream is sealed.
    pub(crate) fn seal(&self, direction: &str, said: &[&[u8]]) -> Seal {
        Seal { key: Key::new(HMAC_SHA256, &sign(&self.0, direction.as_bytes(), said)), packets: 0 }
    }
}

/// Seals the packets of one direction of a stream, or opens them.
pub(crate) struct Seal {
    key: Key,
    packets: u64,
}

impl Seal {
    /// The tag of the next packet.
    pub(crate) fn tag(&mut self, packet: &[u8]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.packets.to_le_bytes());
        context.update(packet);
        self.packets += 1;
        bytes(&context.sign())
    }

    /// Whether that is the tag of the next packet.
    pub(crate) fn is_tag(&mut self, packet: &[u8], tag: &[u8]) -> bool {
        self.tag(packet)[..].ct_eq(tag).into()
    }
}

/// Bytes that nobody can foresee.
pub(crate) fn nonce() -> Result<[u8; 32], ring::error::Unspecified> {
    let mut nonce = [0; 32];
    SystemRandom::new().fill(&mut nonce)?;
    Ok(nonce)
}

fn sign(key: &Key, purpose: &[u8], said: &[&[u8]]) -> [u8; TAG_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(&framed(purpose));
    said.iter().for_each(|piece| context.update(&framed(piece)));
    bytes(&context.sign())
}

/// A piece with its length, so that no two lists of pieces read the same.
fn framed(piece: &[u8]) -> Vec<u8> {
    [&(piece.len() as u64).to_le_bytes(), piece].concat()
}

fn bytes(tag: &hmac::Tag) -> [u8; TAG_BYTES] {
    let mut bytes = [0; TAG_BYTES];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).expect("it is long enough")
    }

    #[test]
    fn a_proof_is_for_one_secret_one_purpose_and_what_was_said() {
        let (ours, theirs) = (secret("0123456789abcdef\n"), secret("0123456789abcdeg"));
        let proof = ours.prove("hello", &[b"ab", b"c"]);
        assert!(ours.is_proof("hello", &[b"ab", b"c"], &proof));
        assert!(secret("0123456789abcdef").is_proof("hello", &[b"ab", b"c"], &proof));
        assert!(!theirs.is_proof("hello", &[b"ab", b"c"], &proof));
        assert!(!ours.is_proof("bye", &[b"ab", b"c"], &proof));
        assert!(!ours.is_proof("hello", &[b"a", b"bc"], &proof));
        assert!(!ours.is_proof("hello", &[b"ab", b"c"], &proof[1..]));
    }

    #[test]
    fn packets_keep_their_places() {
        let secret = secret("0123456789abcdef");
        let (mut near, mut far) = (secret.seal("there", &[b"x"]), secret.seal("there", &[b"x"]));
        let (first, second) = (near.tag(b"one"), near.tag(b"two"));
        assert!(far.is_tag(b"one", &first) && !far.is_tag(b"one", &first));
        assert!(!secret.seal("there", &[b"x"]).is_tag(b"two", &second));
        assert!(!secret.seal("back", &[b"x"]).is_tag(b"one", &first));
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_none() {
        assert!(matches!(Secret::new(b"  0123456789abcde\n"), Err(SecretError::Short)));
    }
}
