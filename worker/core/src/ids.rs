//! Names of things: what a record, a shard, a member and an owner's tenure are called.
//!
//! Plain values that cross every border of the worker. Nothing here knows a broker or a store; the text forms are
//! stable, because keys and checkpoints are made of them. Start at the [crate map](crate).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Why a text is not a name.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ParseIdError {
    /// A shard reads `stream/index`, the index a plain decimal number.
    #[error("failed to read a shard: want STREAM/INDEX")]
    Shard,
    /// A fence reads `epoch.revision`, both plain decimal numbers.
    #[error("failed to read a fence: want EPOCH.REVISION")]
    Fence,
    /// A member reads `pod-uid.incarnation`, neither part empty.
    #[error("failed to read a member: want UID.INCARNATION")]
    Member,
}

/// A place in a shard: a Kafka offset, a position of the embedded log, a modification revision of etcd.
///
/// Ascending within its shard, with gaps allowed. As a position it means "the next record to read".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The first place of any shard.
    pub const ZERO: Self = Self(0);

    /// The place right after this one; the last one has itself.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The unit of ownership: a partition of a Kafka or embedded topic, or a hash slot of an etcd path.
///
/// Written `orders/3`; the stream itself may hold slashes, the index follows the last one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    /// The topic, or the etcd path.
    pub stream: Arc<str>,
    /// The partition, or the slot.
    pub index: u32,
}

impl ShardId {
    /// Names one shard of a stream.
    #[must_use]
    pub fn new(stream: impl Into<Arc<str>>, index: u32) -> Self {
        Self { stream: stream.into(), index }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.index)
    }
}

impl FromStr for ShardId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (stream, index) = text.rsplit_once('/').ok_or(ParseIdError::Shard)?;
        if stream.is_empty() {
            return Err(ParseIdError::Shard);
        }
        let index = plain_number(index).and_then(|n| u32::try_from(n).ok()).ok_or(ParseIdError::Shard)?;
        Ok(Self::new(stream, index))
    }
}

impl Serialize for ShardId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShardId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::<Self>::new("STREAM/INDEX"))
    }
}

/// The dense handle of a shard that is open inside one pump: an index into its tables, of no meaning elsewhere.
///
/// A closed shard's handle may be given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u32);

impl ShardIndex {
    /// The handle as a table index.
    #[inline]
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// The token of one tenure of a shard: a store refuses a write that carries an older one.
///
/// Ordered by epoch, then by revision. Written `3.1287`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Fence {
    /// The epoch of the object; raised when its store was restored from a backup.
    pub epoch: u64,
    /// The revision at which the owner's key was created.
    pub revision: u64,
}

impl Fence {
    /// The tenure that began at a revision of an epoch.
    #[inline]
    #[must_use]
    pub const fn new(epoch: u64, revision: u64) -> Self {
        Self { epoch, revision }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

impl FromStr for Fence {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, revision) = text.split_once('.').ok_or(ParseIdError::Fence)?;
        match (plain_number(epoch), plain_number(revision)) {
            (Some(epoch), Some(revision)) => Ok(Self { epoch, revision }),
            _ => Err(ParseIdError::Fence),
        }
    }
}

/// Which try of a record this is. The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// The try after this one.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Default for Attempt {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One incarnation of a live worker, written `pod-uid.incarnation`.
///
/// A restarted worker is another member, of the same uid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// Names an incarnation of the worker with this uid.
    #[must_use]
    pub fn new(uid: &str, incarnation: impl fmt::Display) -> Self {
        Self(format!("{uid}.{incarnation}").into())
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What all incarnations of one worker have in common.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.0.rsplit_once('.').map_or(&*self.0, |(uid, _)| uid)
    }
}

/// The place of a worker in a StatefulSet, where placement is static: its fixed identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// Names an incarnation of the worker of this ordinal.
    #[must_use]
    pub fn member(self, incarnation: impl fmt::Display) -> MemberId {
        MemberId::new(&self.to_string(), incarnation)
    }

    /// Whether this member is an incarnation of the worker of this ordinal.
    #[must_use]
    pub fn is_of(self, member: &MemberId) -> bool {
        member.uid() == self.to_string()
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ordinal-{}", self.0)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MemberId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.rsplit_once('.') {
            Some((uid, incarnation)) if !uid.is_empty() && !incarnation.is_empty() => Ok(Self(text.into())),
            _ => Err(ParseIdError::Member),
        }
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::<Self>::new("UID.INCARNATION"))
    }
}

/// A time of day in milliseconds since 1970, for what must outlive a process. Deadlines within one use its
/// monotonic clock instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// A ledger's token for one charged record: what completes it. Only the ledger that gave it understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Reads a name from its text, wherever serde finds one.
struct Text<T> {
    want: &'static str,
    name: std::marker::PhantomData<T>,
}

impl<T> Text<T> {
    fn new(want: &'static str) -> Self {
        Self { want, name: std::marker::PhantomData }
    }
}

impl<T: FromStr<Err = ParseIdError>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.want)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Decimal digits without sign or leading zero: one text for one number, so that equal names are equal keys.
fn plain_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_reads_as_it_is_written() {
        for (stream, index) in [("orders", 3), ("/jobs/mail", 0), ("a/b/", u32::MAX)] {
            let shard = ShardId::new(stream, index);
            assert_eq!(shard.to_string().parse(), Ok(shard.clone()));
            let json = serde_json::to_string(&shard).unwrap();
            assert_eq!(json, format!("\"{stream}/{index}\""));
            assert_eq!(serde_json::from_str::<ShardId>(&json).unwrap(), shard);
        }
        for wrong in
            ["", "orders", "/3", "orders/", "orders/03", "orders/+3", "orders/-1", "orders/4294967296"]
        {
            assert_eq!(wrong.parse::<ShardId>(), Err(ParseIdError::Shard), "{wrong}");
        }
    }

    #[test]
    fn a_fence_of_a_later_epoch_is_newer_whatever_its_revision() {
        assert!(Fence::new(2, 1) > Fence::new(1, 900));
        assert!(Fence::new(2, 2) > Fence::new(2, 1));
        assert_eq!("3.1287".parse(), Ok(Fence::new(3, 1287)));
        assert_eq!(Fence::new(3, 1287).to_string(), "3.1287");
        for wrong in ["", ".", "3", "3.", "03.1", "3.1.2"] {
            assert_eq!(wrong.parse::<Fence>(), Err(ParseIdError::Fence), "{wrong}");
        }
    }

    #[test]
    fn incarnations_of_a_worker_share_its_uid() {
        let first = MemberId::new("6f9d.node-a", 1);
        let second: MemberId = "6f9d.node-a.2".parse().unwrap();
        assert_ne!(first, second);
        assert_eq!(first.uid(), second.uid());
        assert_eq!("no-incarnation".parse::<MemberId>(), Err(ParseIdError::Member));
    }

    #[test]
    fn counting_up_stops_at_the_end() {
        assert_eq!(Offset(i64::MAX).next(), Offset(i64::MAX));
        assert_eq!(Attempt::FIRST.next(), Attempt(2));
        assert_eq!(Attempt(u32::MAX).next(), Attempt(u32::MAX));
    }
}
