//! Static placement as one member sees it: which ordinal each shard belongs to. Up: [ownership](super).

use std::collections::HashMap;

use keyweir_core::placement::by_ordinal;
use keyweir_core::{Ordinal, ShardId};
use tokio::sync::watch;

use super::Placing;
use super::values::ShardListValue;
use super::view::Seen;

/// Which ordinal each shard belongs to.
#[derive(Debug)]
pub(super) struct Ordinals {
    me: Ordinal,
    replicas: watch::Receiver<u32>,
    targets: HashMap<ShardId, Ordinal>,
    /// The revision of the list and the number of ordinals that the targets are of.
    of: Option<(u64, u32)>,
}

impl Ordinals {
    /// Those of a member; `None` = placement is dynamic.
    pub(super) fn of(placing: &Placing) -> Option<Self> {
        let Placing::Static { ordinal, replicas } = placing else {
            return None;
        };
        Some(Self { me: *ordinal, replicas: replicas.clone(), targets: HashMap::new(), of: None })
    }

    /// Until there are more or fewer ordinals. Cancel-safe. Pends forever when nobody can say so any more.
    pub(super) async fn changed(&mut self) {
        if self.replicas.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Looks at the shard list and at the number of ordinals as they are now.
    pub(super) fn place(&mut self, list: Option<&Seen<ShardListValue>>) {
        let replicas = *self.replicas.borrow();
        let of = list.map(|list| (list.written, replicas));
        if self.of == of {
            return;
        }
        self.of = of;
        let shards: Vec<ShardId> = list.iter().flat_map(|list| list.value.shards()).collect();
        let ordinals = by_ordinal(&shards, replicas);
        let placed = shards.into_iter().zip(ordinals);
        self.targets = placed.filter_map(|(shard, ordinal)| Some((shard, ordinal?))).collect();
    }

    /// This member's own ordinal.
    pub(super) fn me(&self) -> Ordinal {
        self.me
    }

    /// Whether it is the first one.
    pub(super) fn is_first(&self) -> bool {
        self.me == Ordinal(0)
    }

    /// The ordinal that a shard belongs to; `None` = there is none.
    pub(super) fn target(&self, shard: &ShardId) -> Option<Ordinal> {
        self.targets.get(shard).copied()
    }
}
