//! The oldest open hold that is known. No store keeps its holds by age, since that would cost every
//! call something; but the reconciler reads all of them on its way through the accounts, and keeps
//! the oldest one in mind.
//!
//! So what it knows is never older than the truth, and is the truth where a step goes through all
//! accounts. Where it does not, a hold is known at the latest once the next round has come by,
//! unless an older one is. The one in mind is looked at in every step, so that none is taken for
//! open that is not.

use parking_lot::Mutex;

use super::compare::older;
use crate::{
    domain::{reservation::State, timestamp::Timestamp},
    hot::{HotStore, OldHold},
};

/// The oldest open hold that is known.
#[derive(Debug, Default)]
pub struct Oldest(Mutex<Option<OldHold>>);

impl Oldest {
    /// Forgets it where it does not stand any more as it did.
    pub(super) async fn look_again(&self, hot: &dyn HotStore) {
        let known = self.0.lock().clone();
        if let Some(known) = known
            && !stands(hot, &known).await
        {
            self.forget();
        }
    }

    /// Keeps a hold that was found, where it is older.
    pub(super) fn note(&self, found: Option<OldHold>) {
        let mut known = self.0.lock();
        *known = older(known.take(), found);
    }

    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }

    /// Since when it stands.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.0.lock().as_ref().map(|hold| hold.since)
    }
}

/// Whether a hold is open and was not prolonged. Where its store does not say it is not known.
async fn stands(hot: &dyn HotStore, hold: &OldHold) -> bool {
    let found = hot.reservation(&hold.account_id, &hold.reservation_id);
    let Ok(Ok(done)) = found.await else {
        return false;
    };
    done.value
        .is_some_and(|view| view.state == Some(State::Open) && view.expires_at == hold.expires_at)
}
