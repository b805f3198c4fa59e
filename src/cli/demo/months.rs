//! Two renewals of a subscription that began on the 31st, and an upgrade between them.

use super::{
    ACCOUNT,
    play::{Left, Play, Stopped},
    stage::{Stage, answered},
    words::{self, charge_build, thousands},
};
use crate::{domain::timestamp::Timestamp, pb};

/// A second before the first renewal: 2026-02-28T09:59:59Z.
const FEBRUARY_BEFORE: Timestamp = Timestamp::from_millis(1_772_272_799_000);
/// The first renewal: 2026-02-28T10:00:00Z.
const FEBRUARY: Timestamp = Timestamp::from_millis(1_772_272_800_000);
/// The upgrade: 2026-03-10T09:00:00Z.
const UPGRADE: Timestamp = Timestamp::from_millis(1_773_133_200_000);
/// The second renewal: 2026-03-31T10:00:00Z.
const MARCH: Timestamp = Timestamp::from_millis(1_774_951_200_000);

/// What a plan has left, and when it renews.
struct Cycle {
    used: u64,
    allowance: u64,
    plan: u64,
    pack: u64,
    renews: &'static str,
    available: u64,
}

/// From 31 January to 28 February.
pub(super) async fn short_month(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait_until(FEBRUARY_BEFORE);
    play.act("The renewal: the 31st in a month of 28 days", stage.now());
    let before = Cycle {
        used: 500,
        allowance: 500,
        plan: 0,
        pack: 482,
        renews: "2026-02-28 10:00",
        available: 482,
    };
    show(
        play,
        "GetBalance, one second early",
        before,
        &stage.balance(ACCOUNT).await?,
    );
    stage.wait_until(FEBRUARY);
    let after = Cycle {
        used: 0,
        allowance: 500,
        plan: 500,
        pack: 482,
        renews: "2026-03-31 10:00",
        available: 982,
    };
    show(
        play,
        "GetBalance, at 10:00:00",
        after,
        &stage.balance(ACCOUNT).await?,
    );
    Ok(())
}

/// 100 of 500 becomes 100 of 5,000.
pub(super) async fn upgrade(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait_until(UPGRADE);
    play.act("An upgrade in mid-cycle keeps what was used", stage.now());
    let response = answered(
        "Charge",
        stage.quota().charge(charge_build("build-2", 500)).await,
    )?;
    let before = Cycle {
        used: 100,
        allowance: 500,
        plan: 400,
        pack: 482,
        renews: "2026-03-31 10:00",
        available: 882,
    };
    show(
        play,
        "Charge build-2: 500 s",
        before,
        &response.balance.unwrap_or_default(),
    );
    let request = pb::ChangePlanRequest {
        account_id: ACCOUNT.to_owned(),
        change_id: "upgrade-1".to_owned(),
        plan_id: "pro".to_owned(),
        at_renewal: None,
    };
    let response = answered("ChangePlan", stage.admin().change_plan(request).await)?;
    let account = response.account.unwrap_or_default();
    let after = Cycle {
        used: 100,
        allowance: 5_000,
        plan: 4_900,
        pack: 482,
        renews: "2026-03-31 10:00",
        available: 5_382,
    };
    show(
        play,
        "ChangePlan to pro",
        after,
        &account.balance.unwrap_or_default(),
    );
    Ok(())
}

/// From 28 February to 31 March: the anchor has not moved.
pub(super) async fn long_month(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait_until(MARCH);
    play.act(
        "The next renewal is on the 31st again: plan credits expire, packs stay",
        stage.now(),
    );
    let after = Cycle {
        used: 0,
        allowance: 5_000,
        plan: 5_000,
        pack: 482,
        renews: "2026-04-30 10:00",
        available: 5_482,
    };
    show(play, "GetBalance", after, &stage.balance(ACCOUNT).await?);
    Ok(())
}

fn show(play: &mut Play, call: &str, expected: Cycle, got: &pb::Balance) {
    let renews = words::instant(got.renews_at.as_ref());
    let (used, allowance) = (thousands(got.plan_used), thousands(got.plan_allowance));
    let packs = thousands(got.pack_remaining);
    let day = words::day(&renews);
    play.step(call)
        .answer(format!(
            "used {used} of {allowance}, packs {packs}, to {day}"
        ))
        .expect("plan used", expected.used, got.plan_used)
        .expect("allowance", expected.allowance, got.plan_allowance)
        .expect("left of the plan", expected.plan, got.plan_remaining)
        .expect("left of packs", expected.pack, got.pack_remaining)
        .expect("renews", expected.renews, renews)
        .balance(Left::free(expected.available), Some(got));
}
