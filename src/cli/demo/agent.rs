//! An agent run that commits in steps: usage is reported since its beginning, and the price of the
//! whole is rounded once.

use std::time::Duration;

use super::{
    ACCOUNT,
    play::{Left, Play, Stopped},
    stage::{Stage, answered, granted, receipt},
    words::{self, SONNET, action, commit, reserve, tokens},
};
use crate::pb;

const MINUTE: Duration = Duration::from_secs(60);
/// The conversation that is disputed in the end.
pub(super) const DISPUTED: &str = "conv-refactor";

/// What the agent run has used after each of its steps, since it began.
pub(super) fn steps() -> [pb::Usage; 3] {
    let step = |input, cached, output, tools, files| pb::Usage {
        cached_input_tokens: cached,
        tool_calls: tools,
        file_operations: files,
        ..tokens(input, output)
    };
    [
        step(12_400, 30_000, 1_850, 7, 9),
        step(14_900, 60_000, 2_450, 10, 10),
        step(16_150, 80_000, 2_900, 12, 12),
    ]
}

/// An agent reports what it has used since it began; the price of the whole is rounded once.
pub(super) async fn run(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(9 * MINUTE);
    play.act(
        "An agent run commits in steps: usage is cumulative, rounding is once",
        stage.now(),
    );
    let agent = action("agent", SONNET, DISPUTED);
    let response = stage
        .reserve(reserve("agent-1", agent.clone(), tokens(20_000, 5_000)))
        .await?;
    play.step("Reserve agent-1: 20,000 in, 5,000 out")
        .answer(format!("held {}", granted(&response)?.held))
        .balance(Left::free(454).held(27), response.balance.as_ref());
    let expected = [
        (20, 18, "17.565", Left::free(443).held(20)),
        (12, 6, "23.64", Left::free(445).held(12)),
        (0, 4, "27.69", Left::free(453)),
    ];
    for ((usage, number), (next_hold, charged, exact, left)) in
        steps().into_iter().zip(1..).zip(expected)
    {
        stage.wait(2 * MINUTE);
        let keep_open = next_hold > 0;
        let report = pb::CommitRequest {
            keep_open,
            next_hold,
            ..commit("agent-1", usage)
        };
        let response = stage.commit(report).await?;
        let done = receipt(&response)?;
        let next = match keep_open {
            true => format!("next_hold {next_hold}"),
            false => "the last".to_owned(),
        };
        play.step(format!("Commit agent-1, step {number}, {next}"))
            .answer(format!(
                "so far {}, charged {}",
                words::exact(done),
                done.credits
            ))
            .expect("exact so far", exact, words::exact(done))
            .expect("charged", charged, done.credits)
            .balance(left, response.balance.as_ref());
    }
    rounding(play, stage, agent).await
}

/// What the three steps would cost if each of them were an action of its own.
async fn rounding(play: &mut Play, stage: &Stage, agent: pb::Action) -> Result<(), Stopped> {
    let mut apart = 0;
    let mut before = pb::Usage::default();
    for usage in steps() {
        let step = pb::Usage {
            input_tokens: usage.input_tokens - before.input_tokens,
            cached_input_tokens: usage.cached_input_tokens - before.cached_input_tokens,
            output_tokens: usage.output_tokens - before.output_tokens,
            tool_calls: usage.tool_calls - before.tool_calls,
            file_operations: usage.file_operations - before.file_operations,
            ..pb::Usage::default()
        };
        apart += stage.quote(agent.clone(), step).await?.credits;
        before = usage;
    }
    let request = pb::GetReservationRequest {
        account_id: ACCOUNT.to_owned(),
        reservation_id: "agent-1".to_owned(),
    };
    let response = answered(
        "GetReservation",
        stage.quota().get_reservation(request).await,
    )?;
    let charged = response.reservation.unwrap_or_default().charged;
    play.step("GetReservation agent-1")
        .answer(format!("{charged} in all; three roundings make {apart}"))
        .expect("charged in all", 28, charged)
        .expect("rounded step by step", 30, apart);
    Ok(())
}
