//! The roll: who is there, for those who send records to other members. Up: [ownership](super).

use std::collections::BTreeMap;
use std::sync::Arc;

use keyweir_core::MemberId;
use tokio::sync::watch;

use super::values::MemberValue;
use super::view::View;

/// The live members of an object, as this one sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roll {
    /// The present incarnation of this member.
    pub me: MemberId,
    /// All of them, this one included once its key is seen.
    pub members: BTreeMap<MemberId, MemberValue>,
}

/// What ownership and routing know of each other.
#[derive(Debug)]
pub struct Neighbours {
    /// Gets the roll; `None` = this one is no member.
    pub roll: watch::Sender<Option<Arc<Roll>>>,
    /// How many records of other owners execute here.
    pub hosted: watch::Receiver<usize>,
}

impl Neighbours {
    /// Those of a member that executes nothing for others.
    #[must_use]
    pub fn none() -> Self {
        Self { roll: watch::Sender::new(None), hosted: watch::Sender::new(0).subscribe() }
    }

    /// Tells who is there, where that is news.
    pub(super) fn tell(&self, me: &MemberId, view: &View) {
        self.roll.send_if_modified(|known| {
            let members = view.members().iter();
            let same = known.as_ref().is_some_and(|roll| {
                roll.me == *me && roll.members.iter().eq(members.clone().map(|(id, seen)| (id, &seen.value)))
            });
            if !same {
                let members = members.map(|(id, seen)| (id.clone(), seen.value.clone())).collect();
                *known = Some(Arc::new(Roll { me: me.clone(), members }));
            }
            !same
        });
    }

    /// This one is no member any more: ends once nothing of other owners executes here.
    pub(super) async fn part(&mut self) {
        self.roll.send_replace(None);
        // An error = there is nobody who could execute anything.
        let _ = self.hosted.wait_for(|hosted| *hosted == 0).await;
    }

    /// Whether anything of other owners executes here.
    pub(super) fn is_hosting(&self) -> bool {
        *self.hosted.borrow() > 0
    }

    /// Until the number of those changes. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.hosted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
