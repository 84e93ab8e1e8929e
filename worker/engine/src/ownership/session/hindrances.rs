//! What keeps a session from being content: each thing by itself, until that very thing goes well again. Up: the
//! [session](super).

use std::collections::BTreeMap;
use std::error::Error;

use keyweir_core::ShardId;

use crate::error_chain;
use crate::ownership::status::Hindrance;

/// What does not go well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// Seeing what changes.
    View,
    /// Writing this member's value.
    Member,
    /// Writing the shard list.
    List,
    /// Finding the source's shards.
    Discovery,
    /// Saying what this member would take.
    Accepts,
    /// Becoming the owner of shards.
    Claims,
    /// Reading the checkpoint of a shard that is ours.
    Checkpoint(ShardId),
    /// Finding where a shard of ours starts.
    Opening(ShardId),
}

impl About {
    /// The same for people.
    fn told(&self, reason: &str) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoints",
            Self::Discovery | Self::Opening(_) if reason.contains("Checkpoint") => "checkpoints",
            Self::Discovery | Self::Opening(_) => "source",
            Self::View | Self::Member | Self::List | Self::Accepts | Self::Claims => "coordination",
        }
    }
}

/// All that does not go well now.
#[derive(Debug, Default)]
pub(super) struct Hindrances {
    known: BTreeMap<About, Hindrance>,
}

impl Hindrances {
    /// It does not go well; said once.
    pub(super) fn add(&mut self, about: About, reason: &'static str, error: &dyn Error) {
        let text = error_chain(error);
        if self.known.get(&about).is_none_or(|known| known.text != text) {
            tracing::warn!(?about, reason, error = text, "ownership is hindered");
        }
        let told = about.told(reason);
        self.known.insert(about, Hindrance { about: told, reason, text });
    }

    /// It goes well again.
    pub(super) fn clear(&mut self, about: &About) {
        if self.known.remove(about).is_some() {
            tracing::info!(?about, "ownership is no longer hindered");
        }
    }

    /// Shards that are not ours any more hinder nobody.
    pub(super) fn keep_shards(&mut self, ours: impl Fn(&ShardId) -> bool) {
        self.known.retain(|about, _| match about {
            About::Checkpoint(shard) | About::Opening(shard) => ours(shard),
            _ => true,
        });
    }

    /// The first of them, for people.
    pub(super) fn first(&self) -> Option<&Hindrance> {
        self.known.values().next()
    }
}
