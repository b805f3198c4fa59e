//! The balance is at zero: what is blocked, what is owed, and what a pack does about it.

use std::time::Duration;

use super::{
    ACCOUNT,
    play::{Left, Play, Stopped},
    stage::{Stage, answered, denied, granted, receipt},
    words::{self, SONNET, action, commit, reserve, tokens},
};
use crate::pb::{self, GrantKind};

/// The webhook's order, which is the pack's idempotency key.
const ORDER: &str = "order-1001";

/// The chat that has to wait for the pack.
fn question() -> pb::ReserveRequest {
    reserve(
        "chat-3",
        action("discuss", SONNET, "conv-launch"),
        tokens(2_000, 800),
    )
}

/// Nothing is left: blocked, with what can be done about it.
pub(super) async fn blocked(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(Duration::from_secs(2 * 60));
    play.act(
        "At zero, actions are blocked, and the denial says what helps",
        stage.now(),
    );
    let response = stage.reserve(question()).await?;
    let denial = denied(&response)?;
    let reason = words::name(denial.reason().as_str_name());
    let step = play.step("Reserve chat-3: 2,000 in, 800 out");
    step.answer(format!(
        "denied: {reason}, needs {}, has {}",
        denial.required, denial.available
    ))
    .expect("reason", "BALANCE_EXHAUSTED", reason)
    .expect("required", 3, denial.required)
    .expect("available to it", 0, denial.available)
    .balance(Left::free(0).held(10), response.balance.as_ref());
    let remedies = words::remedies(denial);
    for remedy in &remedies {
        step.answer(format!("- {remedy}"));
    }
    let expected = [
        "buy pack small: 500",
        "move to plan pro: 5,000 a cycle",
        "wait for the renewal on 2026-02-28 10:00",
    ];
    step.expect("remedies", expected.map(str::to_owned).to_vec(), remedies);
    Ok(())
}

/// An action used more than it held, and there was nothing to pay that from.
pub(super) async fn debt(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(Duration::from_secs(3 * 60));
    play.act(
        "Used is used: what an action takes above its hold becomes debt",
        stage.now(),
    );
    let usage = pb::Usage {
        tool_calls: 3,
        ..tokens(5_000, 7_000)
    };
    let response = stage.commit(commit("agent-2", usage)).await?;
    let done = receipt(&response)?;
    let (above, owed) = (done.overage, done.debt_added);
    play.step("Commit agent-2: 5,000 in, 7,000 out")
        .answer(format!(
            "charged {}, {above} above its hold: {owed} owed",
            done.credits
        ))
        .expect("charged", 25, done.credits)
        .expect("above the hold", 15, above)
        .expect("debt added", 15, owed)
        .balance(Left::free(0).debt(15), response.balance.as_ref());
    let response = stage.reserve(question()).await?;
    let reason = words::name(denied(&response)?.reason().as_str_name());
    play.step("Reserve chat-3 again")
        .answer(format!("denied: {reason}"))
        .expect("reason", "DEBT_OUTSTANDING", reason)
        .balance(Left::free(0).debt(15), response.balance.as_ref());
    Ok(())
}

/// A pack pays the debt first; the action that was blocked goes through under the same id.
pub(super) async fn pack(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(Duration::from_secs(5 * 60));
    play.act(
        "A pack is bought: it pays the debt first, and unblocks",
        stage.now(),
    );
    for call in [
        format!("GrantCredits {ORDER}: pack small"),
        "(the webhook comes twice)".to_owned(),
    ] {
        let request = pb::GrantCreditsRequest {
            account_id: ACCOUNT.to_owned(),
            grant_id: ORDER.to_owned(),
            kind: GrantKind::Pack.into(),
            amount: Some(pb::grant_credits_request::Amount::PackId(
                "small".to_owned(),
            )),
            reason: "bought in the app".to_owned(),
            ..pb::GrantCreditsRequest::default()
        };
        let response = answered("GrantCredits", stage.admin().grant_credits(request).await)?;
        let amount = response.grant.unwrap_or_default().amount;
        let left = response.balance.unwrap_or_default();
        play.step(call)
            .answer(format!(
                "a grant of {amount}, {} of it left",
                left.pack_remaining
            ))
            .expect("grant", 500, amount)
            .expect("left of packs", 485, left.pack_remaining)
            .balance(Left::free(485), Some(&left));
    }
    let response = stage.reserve(question()).await?;
    play.step("Reserve chat-3, the same id again")
        .answer(format!("held {}", granted(&response)?.held))
        .balance(Left::free(482).held(3), response.balance.as_ref());
    let response = stage.commit(commit("chat-3", tokens(2_000, 800))).await?;
    let done = receipt(&response)?;
    let draws = words::draws(&done.draws);
    play.step("Commit chat-3: 2,000 in, 800 out")
        .answer(format!("charged {}, from {draws}", done.credits))
        .expect("drawn from", format!("{ORDER} 3"), draws)
        .balance(Left::free(482), response.balance.as_ref());
    Ok(())
}
