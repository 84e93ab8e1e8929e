//! Where an object's state lies in etcd: one prefix per object, read as one list and one watch.
//!
//! ```text
//! <prefix>/<namespace>/<name>/live/object                      whose prefix this is (uid) and its epoch
//!                             live/shards                      the shard list
//!                             live/members/<member>            a live member, under its lease
//!                             live/accepts/<member>/<shard>    a member ready to take a shard, under its lease
//!                             live/owners/<shard>              the owner, under its lease
//!                             live/releases/<member>/<shard>   what still executes at an earlier owner, under its lease
//!                             ordinals/<ordinal>               a live member of static placement, under its lease
//!                             checkpoints/<shard>              what is complete
//! ```
//!
//! All that members must see lies under `live/`: that is what they list and watch. Checkpoints lie beside it, since
//! they are written every second and read only by the next owner. So do members of static placement, which nobody watches:
//! their key has no room for a second holder of the same ordinal.
//!
//! A shard's name may hold slashes (`orders/3`); all other parts may not.

use std::fmt;

/// The prefix of one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectPrefix(String);

/// One key of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// Whose prefix this is, and its epoch.
    Object,
    /// The shard list.
    Shards,
    /// A live member.
    Member(String),
    /// The live member that has this ordinal, where placement is static.
    Ordinal(u32),
    /// A member that is ready to take a shard.
    Accept {
        /// The member.
        member: String,
        /// The shard.
        shard: String,
    },
    /// A shard's owner.
    Owner(String),
    /// What still executes of a shard at a member that has released it.
    Release {
        /// The member.
        member: String,
        /// The shard.
        shard: String,
    },
    /// What is complete of a shard.
    Checkpoint(String),
}

impl ObjectPrefix {
    /// The prefix of the object of this namespace and name, below the installation's `prefix`
    /// (slashes at its ends don't matter).
    pub fn new(prefix: &str, namespace: &str, name: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self(format!("{slash}{prefix}/{namespace}/{name}/"))
    }

    /// The text that all keys of the object begin with, and no key of any other.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What all begin with that members list and watch.
    pub fn live(&self) -> String {
        format!("{}{LIVE}/", self.0)
    }

    /// The text of a key.
    pub fn key(&self, key: &Key) -> String {
        format!("{}{key}", self.0)
    }

    /// What all members begin with.
    pub fn members(&self) -> String {
        format!("{}{LIVE}/{MEMBERS}/", self.0)
    }

    /// What all members of static placement begin with.
    pub fn ordinals(&self) -> String {
        format!("{}{ORDINALS}/", self.0)
    }

    /// What all accepts begin with.
    pub fn accepts(&self) -> String {
        format!("{}{LIVE}/{ACCEPTS}/", self.0)
    }

    /// What all owners begin with.
    pub fn owners(&self) -> String {
        format!("{}{LIVE}/{OWNERS}/", self.0)
    }

    /// What all checkpoints begin with.
    pub fn checkpoints(&self) -> String {
        format!("{}{CHECKPOINTS}/", self.0)
    }

    /// The key that a text is; none for a foreign one.
    pub fn parse(&self, text: &str) -> Option<Key> {
        let (room, own) = text.strip_prefix(&self.0)?.split_once('/')?;
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        if room == CHECKPOINTS {
            return named(own).map(Key::Checkpoint);
        }
        if room == ORDINALS {
            return own.parse().ok().filter(|ordinal: &u32| ordinal.to_string() == own).map(Key::Ordinal);
        }
        if room != LIVE {
            return None;
        }
        let (kind, rest) = own.split_once('/').unwrap_or((own, ""));
        match kind {
            OBJECT if own == OBJECT => Some(Key::Object),
            SHARDS if own == SHARDS => Some(Key::Shards),
            MEMBERS if !rest.contains('/') => named(rest).map(Key::Member),
            OWNERS => named(rest).map(Key::Owner),
            ACCEPTS | RELEASES => {
                let (member, shard) = rest.split_once('/')?;
                let (member, shard) = (named(member)?, named(shard)?);
                let accept = kind == ACCEPTS;
                Some(if accept { Key::Accept { member, shard } } else { Key::Release { member, shard } })
            }
            _ => None,
        }
    }
}

const LIVE: &str = "live";
const OBJECT: &str = "object";
const SHARDS: &str = "shards";
const MEMBERS: &str = "members";
const ACCEPTS: &str = "accepts";
const OWNERS: &str = "owners";
const RELEASES: &str = "releases";
const CHECKPOINTS: &str = "checkpoints";
const ORDINALS: &str = "ordinals";

impl fmt::Display for Key {
    /// The key's text below its object's prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object => write!(f, "{LIVE}/{OBJECT}"),
            Self::Shards => write!(f, "{LIVE}/{SHARDS}"),
            Self::Member(member) => write!(f, "{LIVE}/{MEMBERS}/{member}"),
            Self::Ordinal(ordinal) => write!(f, "{ORDINALS}/{ordinal}"),
            Self::Accept { member, shard } => write!(f, "{LIVE}/{ACCEPTS}/{member}/{shard}"),
            Self::Owner(shard) => write!(f, "{LIVE}/{OWNERS}/{shard}"),
            Self::Release { member, shard } => write!(f, "{LIVE}/{RELEASES}/{member}/{shard}"),
            Self::Checkpoint(shard) => write!(f, "{CHECKPOINTS}/{shard}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> ObjectPrefix {
        ObjectPrefix::new("/keyweir/", "shop", "orders")
    }

    #[test]
    fn every_key_reads_back() {
        let keys = [
            Key::Object,
            Key::Shards,
            Key::Member("pod-1.2".to_owned()),
            Key::Ordinal(2),
            Key::Accept { member: "pod-1.2".to_owned(), shard: "orders/3".to_owned() },
            Key::Owner("orders/3".to_owned()),
            Key::Release { member: "pod-1.2".to_owned(), shard: "orders/3".to_owned() },
            Key::Checkpoint("orders/3".to_owned()),
        ];
        for key in keys {
            assert_eq!(shop().parse(&shop().key(&key)), Some(key));
        }
        assert_eq!(
            shop().key(&Key::Owner("orders/3".to_owned())),
            "/keyweir/shop/orders/live/owners/orders/3"
        );
    }

    #[test]
    fn foreign_keys_are_no_keys() {
        for text in [
            "/keyweir/shop/orders2/live/object",
            "/keyweir/shop/orders/",
            "/keyweir/shop/orders/live/",
            "/keyweir/shop/orders/object",
            "/keyweir/shop/orders/live/objects",
            "/keyweir/shop/orders/live/object/x",
            "/keyweir/shop/orders/ordinals/",
            "/keyweir/shop/orders/ordinals/02",
            "/keyweir/shop/orders/ordinals/2/x",
            "/keyweir/shop/orders/live/members/",
            "/keyweir/shop/orders/live/members/a/b",
            "/keyweir/shop/orders/live/accepts/a",
            "/keyweir/shop/orders/live/releases//orders/3",
            "/keyweir/shop/orders/checkpoints/",
        ] {
            assert_eq!(shop().parse(text), None, "{text}");
        }
    }

    #[test]
    fn objects_that_begin_alike_share_nothing() {
        let longer = ObjectPrefix::new("keyweir", "shop", "orders-2");
        assert!(!longer.as_str().starts_with(shop().as_str()));
        assert_eq!(ObjectPrefix::new("", "shop", "orders").as_str(), "/shop/orders/");
    }
}
