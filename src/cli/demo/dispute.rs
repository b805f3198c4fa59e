//! Two months later somebody disputes the agent run: support looks it up, and refunds it once.

use super::{
    ACCOUNT,
    agent::DISPUTED,
    play::{Left, Play, Stopped},
    stage::{Stage, answered},
    words::{self, thousands},
};
use crate::{domain::timestamp::Timestamp, pb};

/// When support looks: 2026-04-02T15:30:00Z.
const DISPUTE: Timestamp = Timestamp::from_millis(1_775_143_800_000);
/// The support case, which is the refund's idempotency key.
const CASE: &str = "case-77";
/// What the agent run used in all.
const QUANTITIES: &str = "16,150 in, 80,000 cached, 2,900 out, 12 tools, 12 files";

/// Everything that the conversation was charged, with the exact quantities.
pub(super) async fn conversation(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait_until(DISPUTE);
    play.act(
        "A dispute: support looks the conversation up, and refunds it, once",
        stage.now(),
    );
    let found = look_up(stage).await?;
    let quantities = quantities(&found.usage.unwrap_or_default());
    let step = play.step(format!("GetConversation {DISPUTED}"));
    step.answer(format!(
        "{} credits in {} entries",
        found.credits,
        found.entries.len()
    ))
    .expect("credits", 28, found.credits)
    .expect("refunded", 0, found.refunded)
    .expect("quantities", QUANTITIES, quantities.as_str());
    let mut shown = Vec::new();
    for entry in &found.entries {
        let receipt = entry.receipt.clone().unwrap_or_default();
        let (exact, credits) = (words::exact(&receipt), receipt.credits);
        let sequence = entry.sequence;
        step.answer(format!(
            "entry {sequence}: so far {exact}, charged {credits}"
        ));
        shown.push(format!("{sequence}: {exact}, {credits}"));
    }
    let expected = ["4: 17.565, 18", "5: 23.64, 6", "6: 27.69, 4"].map(str::to_owned);
    step.answer(quantities)
        .expect("entries", expected.to_vec(), shown);
    Ok(())
}

/// Refunded once, whoever asks again and however. Its plan credits have expired since, so they
/// come back as a grant of their own.
pub(super) async fn refund(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    for call in [
        format!("Refund {CASE}: all of agent-1"),
        format!("Refund {CASE} again: stored answer"),
    ] {
        let response = answered("Refund", stage.admin().refund(request(CASE)).await)?;
        let entry = response.entry.unwrap_or_default();
        let draws = words::draws(&entry.draws);
        play.step(call)
            .answer(format!(
                "entry {}: {} to {draws}",
                entry.sequence,
                words::signed(entry.credits)
            ))
            .expect("credits", 28, entry.credits)
            .expect("entry", 20, entry.sequence)
            .balance(Left::free(5_510), response.balance.as_ref());
    }
    let code = match stage.admin().refund(request("case-78")).await {
        Ok(_) => tonic::Code::Ok,
        Err(status) => status.code(),
    };
    play.step("Refund case-78: all of agent-1")
        .answer(format!("refused: {code:?}"))
        .expect("code", "FailedPrecondition", format!("{code:?}"))
        .balance(Left::free(5_510), Some(&stage.balance(ACCOUNT).await?));
    let found = look_up(stage).await?;
    play.step(format!("GetConversation {DISPUTED}"))
        .answer(format!(
            "{} credits, {} refunded",
            thousands(found.credits),
            found.refunded
        ))
        .expect("credits", 28, found.credits)
        .expect("refunded", 28, found.refunded);
    Ok(())
}

async fn look_up(stage: &Stage) -> Result<pb::GetConversationResponse, Stopped> {
    let request = pb::GetConversationRequest {
        conversation_id: DISPUTED.to_owned(),
        ..Default::default()
    };
    answered(
        "GetConversation",
        stage.admin().get_conversation(request).await,
    )
}

fn request(refund_id: &str) -> pb::RefundRequest {
    pb::RefundRequest {
        account_id: ACCOUNT.to_owned(),
        refund_id: refund_id.to_owned(),
        reservation_id: "agent-1".to_owned(),
        credits: 0,
        reason: "the agent broke the build".to_owned(),
        actor: "support".to_owned(),
    }
}

/// Quantities in one line.
fn quantities(usage: &pb::Usage) -> String {
    let pb::Usage {
        input_tokens,
        cached_input_tokens,
        output_tokens,
        tool_calls,
        file_operations,
        ..
    } = usage;
    format!(
        "{} in, {} cached, {} out, {tool_calls} tools, {file_operations} files",
        thousands(*input_tokens),
        thousands(*cached_input_tokens),
        thousands(*output_tokens),
    )
}
