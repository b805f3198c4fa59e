//! What keeps a balance from being spent twice, kept, or overrun: concurrency, deadlines, caps.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{
    ACCOUNT,
    play::{Left, Play, Stopped},
    stage::{Stage, answered, charged, denied, granted, receipt},
    words::{
        self, OPUS, SONNET, action, charge_build, commit, reserve, reserve_credits, thousands,
        tokens,
    },
};
use crate::pb::{self, ReservationState};

/// The account of the concurrent chats.
const CROWD: &str = "crowd";
/// How many of them ask at once.
const CHATS: u64 = 20;
/// What each asks for.
const CHAT_CREDITS: u64 = 75;
/// How long the client that vanishes asked its hold to stand.
const TTL: Duration = Duration::from_secs(60);
/// How often the play looks whether the sweeper came by, and how long it waits in between.
const LOOKS_MAX: usize = 200;
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Twenty holds of 75 at once, on 500 credits.
pub(super) async fn crowd(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(Duration::from_secs(20 * 60));
    play.act(
        "20 chats at once ask for 75 each, of 500 (on an account of their own)",
        stage.now(),
    );
    let request = pb::CreateAccountRequest {
        account_id: CROWD.to_owned(),
        plan_id: "starter".to_owned(),
        ..pb::CreateAccountRequest::default()
    };
    answered("CreateAccount", stage.admin().create_account(request).await)?;
    let answers = all_at_once(stage).await?;
    let holds: Vec<_> = answers
        .iter()
        .filter_map(|answer| granted(answer).ok())
        .collect();
    let denials: Vec<_> = answers
        .iter()
        .filter_map(|answer| denied(answer).ok())
        .collect();
    let reasons = denials.iter().filter(|denial| {
        let available = CHAT_CREDITS > denial.available && denial.required == CHAT_CREDITS;
        available && denial.reason() == pb::DenialReason::InsufficientCredits
    });
    play.step(format!(
        "Reserve {CHATS} x {CHAT_CREDITS}, TCP and Unix socket"
    ))
    .answer(format!("{} granted, {} denied", holds.len(), denials.len()))
    .expect("granted", 6, holds.len())
    .expect("denied", 14, denials.len())
    .expect("denied for want of credits", 14, reasons.count())
    .balance(Left::free(50).held(450), Some(&stage.balance(CROWD).await?));
    let mut returned = 0;
    for hold in &holds {
        let request = pb::ReleaseRequest {
            account_id: CROWD.to_owned(),
            reservation_id: hold.reservation_id.clone(),
            reason: String::new(),
        };
        returned += answered("Release", stage.quota().release(request).await)?.returned;
    }
    play.step("Release each of them")
        .answer(format!("returned {returned}"))
        .expect("returned", 450, returned)
        .balance(Left::free(500), Some(&stage.balance(CROWD).await?));
    Ok(())
}

async fn all_at_once(stage: &Stage) -> Result<Vec<pb::ReserveResponse>, Stopped> {
    let mut calls = JoinSet::new();
    for number in 1..=CHATS {
        let mut quota = match number.is_multiple_of(2) {
            true => stage.quota_by_socket(),
            false => stage.quota(),
        };
        let chat = action("discuss", SONNET, "");
        let request = pb::ReserveRequest {
            account_id: CROWD.to_owned(),
            ..reserve_credits(&format!("chat-{number}"), chat, CHAT_CREDITS)
        };
        calls.spawn(async move { quota.reserve(request).await });
    }
    let mut answers = Vec::new();
    while let Some(joined) = calls.join_next().await {
        let answer = joined.map_err(|error| Stopped::new("Reserve", "an answer", error))?;
        answers.push(answered("Reserve", answer)?);
    }
    Ok(answers)
}

/// A client holds credits and is never heard of again.
pub(super) async fn vanished_client(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(Duration::from_secs(30 * 60));
    play.act("A client holds 100 for a minute, and vanishes", stage.now());
    let ttl = prost_types::Duration {
        seconds: TTL.as_secs().cast_signed(),
        nanos: 0,
    };
    let request = pb::ReserveRequest {
        ttl: Some(ttl),
        ..reserve_credits("lost-1", action("agent", SONNET, ""), 100)
    };
    // On a connection of its own, which then goes away.
    let mut client = stage.stranger().await?;
    let response = answered("Reserve lost-1", client.reserve(request).await)?;
    drop(client);
    play.step("Reserve lost-1: 100, ttl 60 s")
        .answer(format!(
            "held {}; then the connection is lost",
            granted(&response)?.held
        ))
        .balance(Left::free(350).held(100), response.balance.as_ref());
    stage.wait(TTL);
    let state = swept(stage, "lost-1").await?;
    play.step("(nothing, for 60 s)")
        .answer(format!(
            "lost-1 is {}: its hold is returned",
            words::name(state.as_str_name())
        ))
        .expect(
            "state",
            ReservationState::Expired.as_str_name(),
            state.as_str_name(),
        )
        .balance(Left::free(450), Some(&stage.balance(ACCOUNT).await?));
    Ok(())
}

/// The state of the only reservation that holds something, once the sweeper has given that back, or
/// after a while.
async fn swept(stage: &Stage, reservation_id: &str) -> Result<ReservationState, Stopped> {
    for _ in 0..LOOKS_MAX {
        if stage.balance(ACCOUNT).await?.held == 0 {
            break;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let request = pb::GetReservationRequest {
        account_id: ACCOUNT.to_owned(),
        reservation_id: reservation_id.to_owned(),
    };
    let response = answered(
        "GetReservation",
        stage.quota().get_reservation(request).await,
    )?;
    Ok(response.reservation.unwrap_or_default().state())
}

/// Two actions leave little, one of them still running.
pub(super) async fn short_balance(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(Duration::from_secs(90 * 60));
    play.act(
        "A long stream on a short balance: it is cut where its hold ends",
        stage.now(),
    );
    let build = charge_build("build-1", 1_950);
    let response = answered("Charge", stage.quota().charge(build).await)?;
    let done = charged(&response)?;
    play.step("Charge build-1: 1,950 build seconds")
        .answer(format!(
            "charged {}: Reserve and Commit in one",
            done.credits
        ))
        .expect("charged", 390, done.credits)
        .balance(Left::free(60), response.balance.as_ref());
    let estimate = pb::Usage {
        tool_calls: 3,
        ..tokens(4_000, 2_000)
    };
    let response = stage
        .reserve(reserve("agent-2", action("agent", SONNET, ""), estimate))
        .await?;
    play.step("Reserve agent-2: 4,000 in, 2,000 out")
        .answer(format!(
            "held {}; it will run for a while",
            granted(&response)?.held
        ))
        .balance(Left::free(50).held(10), response.balance.as_ref());
    Ok(())
}

/// A long answer on a short balance: it runs as far as the hold pays for it.
pub(super) async fn cut_stream(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    let (report, wanted) = (action("discuss", OPUS, "conv-report"), 8_000);
    let price = stage
        .quote(report.clone(), tokens(5_000, wanted))
        .await?
        .credits;
    let request = pb::ReserveRequest {
        min_credits: Some(20),
        ..reserve("report-1", report, tokens(5_000, wanted))
    };
    let response = stage.reserve(request).await?;
    let hold = granted(&response)?;
    let most = hold.max_output_tokens.unwrap_or(0);
    play.step(format!("Reserve report-1: {price}, min_credits 20"))
        .answer(format!(
            "held {}, max_output_tokens {}",
            hold.held,
            thousands(most)
        ))
        .expect("asked for", 90, price)
        .expect("held by report-1", 50, hold.held)
        .expect("max_output_tokens", 4_000, most)
        .balance(Left::free(0).held(60), response.balance.as_ref());
    // The model would go on, the gateway does not let it.
    let sent = most.min(wanted);
    let response = stage
        .commit(commit("report-1", tokens(5_000, sent)))
        .await?;
    let done = receipt(&response)?;
    play.step(format!("Commit report-1, cut at {} out", thousands(sent)))
        .answer(format!(
            "charged {}, above the hold {}",
            done.credits, done.overage
        ))
        .expect("charged", 50, done.credits)
        .expect("above the hold", 0, done.overage)
        .balance(Left::free(0).held(10), response.balance.as_ref());
    Ok(())
}
