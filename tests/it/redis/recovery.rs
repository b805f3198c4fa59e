//! Servers that lost something: emptied under load, restarted from an old file, replaced by a
//! replica that lacks the last writes, replaced while they live. Each time nobody runs anything by
//! hand, no account has more than the ledger and its open holds allow, and what was answered once
//! the ledger had it is charged once.

mod crashes;
mod emptied;
mod killed;
mod misled;
pub mod plane;
mod replaced;
mod stale;

use std::time::Duration;

use tollgate::{
    domain::command::Charge,
    hot::{HotStore, Mark},
};

use self::plane::{Plane, retried};
use crate::support::{account_id, commands::charge};

/// How long it may take until everything is served again.
const PATIENCE: Duration = Duration::from_secs(40);

/// Charges an account past the enforcer, which would wait for the ledger.
pub async fn charged(plane: &Plane, account: &str, id: &str, amount: u64) -> Mark {
    let command = Charge {
        account_id: account_id(account),
        force: true,
        ..charge(id, amount)
    };
    retried(async || plane.enforcer.touch(&command.account_id).await).await;
    let answer = retried(async || plane.hot.charge(&command).await).await;
    answer.expect("loaded").mark
}
