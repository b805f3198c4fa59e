//! The first morning: prices, an account, and actions that end in each of the usual ways.

use std::time::Duration;

use super::{
    ACCOUNT, agent,
    play::{Left, Play, Stopped},
    stage::{Stage, answered, granted, receipt},
    words::{self, HAIKU, OPUS, SONNET, action, commit, reserve, thousands, tokens},
};
use crate::pb::{self, Outcome};

const MINUTE: Duration = Duration::from_secs(60);
/// The same question on three tiers, and one price line by line.
pub(super) async fn quotes(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    play.act(
        "What does it cost? 2,000 tokens in and 800 out, on three tiers; then an agent",
        stage.now(),
    );
    let expected = [
        (HAIKU, "lightweight", "0.6", 1),
        (SONNET, "standard", "2.4", 3),
        (OPUS, "premium", "12", 12),
    ];
    for (model, tier, exact, credits) in expected {
        let price = stage
            .quote(action("discuss", model, ""), tokens(2_000, 800))
            .await?;
        play.step(format!("Quote discuss {model}"))
            .answer(format!(
                "{}: {} rounded up is {}",
                price.tier, price.exact, price.credits
            ))
            .expect("credits", credits, price.credits)
            .expect("exact", exact, price.exact)
            .expect("tier", tier, price.tier);
    }
    let [first, _, _] = agent::steps();
    let price = stage.quote(action("agent", SONNET, ""), first).await?;
    let step = play.step(format!("Quote agent {SONNET}"));
    let amounts = ["4.96", "1.2", "3.7", "1.4", "0.45"];
    step.expect("items", amounts.len(), price.items.len());
    for (item, amount) in price.items.iter().zip(amounts) {
        let quantity = thousands(item.quantity);
        step.answer(format!(
            "{:<19} {quantity:>6} x {:<7} {:>5}",
            item.meter, item.rate, item.amount
        ))
        .expect(
            format!("amount of {}", item.meter),
            amount,
            item.amount.as_str(),
        );
    }
    let pb::Price {
        credits,
        subtotal,
        multiplier,
        exact,
        ..
    } = price;
    step.answer(format!(
        "{subtotal} x {multiplier} = {exact}, rounded up once: {credits}"
    ))
    .expect("subtotal", "11.71", subtotal)
    .expect("exact", "17.565", exact)
    .expect("credits", 18, credits);
    Ok(())
}

/// The account comes to be, on the 31st.
pub(super) async fn subscription(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    play.act(
        "An account on plan starter, subscribed on the 31st",
        stage.now(),
    );
    let request = pb::CreateAccountRequest {
        account_id: ACCOUNT.to_owned(),
        plan_id: "starter".to_owned(),
        ..pb::CreateAccountRequest::default()
    };
    let response = answered("CreateAccount", stage.admin().create_account(request).await)?;
    let balance = response
        .account
        .and_then(|account| account.balance)
        .unwrap_or_default();
    let renews = words::instant(balance.renews_at.as_ref());
    play.step(format!("CreateAccount {ACCOUNT}, plan starter"))
        .answer(format!(
            "{} a cycle, renews {renews}",
            thousands(balance.plan_allowance)
        ))
        .expect("allowance", 500, balance.plan_allowance)
        .expect("renews", "2026-02-28 10:00", renews)
        .balance(Left::free(500), Some(&balance));
    Ok(())
}

/// Reserve by estimate, cap the stream, commit what it was.
pub(super) async fn chat(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(5 * MINUTE);
    play.act(
        "A chat: hold the estimate, cap the stream, pay what it was",
        stage.now(),
    );
    let chat = action("discuss", SONNET, "conv-launch");
    let response = stage
        .reserve(reserve("chat-1", chat, tokens(6_000, 4_000)))
        .await?;
    let hold = granted(&response)?;
    let most = hold.max_output_tokens.unwrap_or(0);
    play.step("Reserve chat-1: 6,000 in, 4,000 out")
        .answer(format!(
            "held {}, max_output_tokens {}",
            hold.held,
            thousands(most)
        ))
        .expect("held by chat-1", 11, hold.held)
        .expect("max_output_tokens", 4_300, most)
        .balance(Left::free(489).held(11), response.balance.as_ref());
    stage.wait(MINUTE);
    let response = stage.commit(commit("chat-1", tokens(6_000, 2_100))).await?;
    let done = receipt(&response)?;
    play.step("Commit chat-1: 6,000 in, 2,100 out")
        .answer(format!(
            "charged {}, returned {}",
            done.credits, done.returned
        ))
        .expect("charged", 7, done.credits)
        .expect("returned", 4, done.returned)
        .balance(Left::free(493), response.balance.as_ref());
    Ok(())
}

/// The answer to a commit is lost; another process sends it again.
pub(super) async fn lost_answer(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(5 * MINUTE);
    play.act(
        "The answer to a commit is lost: send it again, pay once",
        stage.now(),
    );
    let question = reserve(
        "chat-2",
        action("discuss", OPUS, "conv-launch"),
        tokens(1_500, 900),
    );
    let response = stage.reserve(question).await?;
    play.step("Reserve chat-2: 1,500 in, 900 out")
        .answer(format!("held {}", granted(&response)?.held))
        .balance(Left::free(481).held(12), response.balance.as_ref());
    let report = commit("chat-2", tokens(1_500, 900));
    drop(stage.commit(report.clone()).await?);
    play.step("Commit chat-2: 1,500 in, 900 out")
        .answer("(lost on the way back)");

    let again = answered("Commit", stage.quota_by_socket().commit(report).await)?;
    let done = receipt(&again)?;
    play.step("Commit chat-2 again, by Unix socket")
        .answer(format!(
            "replayed: charged {}, entry {}",
            done.credits, done.sequence
        ))
        .expect("replayed", true, again.replayed)
        .expect("charged", 12, done.credits)
        .expect("entry", 3, done.sequence)
        .balance(Left::free(481), again.balance.as_ref());

    let other = stage
        .quota()
        .commit(commit("chat-2", tokens(1_500, 901)))
        .await;
    let (code, message) = match other {
        Ok(_) => (tonic::Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    };
    play.step("Commit chat-2 with 901 out")
        .answer(format!("refused: {code:?}, other usage"))
        .expect("code", "AlreadyExists", format!("{code:?}"))
        .expect("names the field", true, message.contains("usage"))
        .balance(Left::free(481), Some(&stage.balance(ACCOUNT).await?));
    Ok(())
}

/// Failed, cancelled, never run.
pub(super) async fn outcomes(play: &mut Play, stage: &Stage) -> Result<(), Stopped> {
    stage.wait(14 * MINUTE);
    play.act("Not every action succeeds", stage.now());
    let edit = action("edit", SONNET, "conv-edit");
    let endings = [
        (
            "edit-1",
            Outcome::Failed,
            tokens(4_000, 1_200),
            0,
            Left::free(453),
        ),
        (
            "edit-2",
            Outcome::Cancelled,
            tokens(2_000, 500),
            3,
            Left::free(450),
        ),
    ];
    for (id, outcome, usage, charged, left) in endings {
        let response = stage
            .reserve(reserve(id, edit.clone(), tokens(4_000, 3_000)))
            .await?;
        let held = granted(&response)?.held;
        let report = pb::CommitRequest {
            outcome: outcome.into(),
            ..commit(id, usage)
        };
        let response = stage.commit(report).await?;
        let done = receipt(&response)?;
        let (name, exact) = (format!("{outcome:?}").to_lowercase(), words::exact(done));
        play.step(format!("Reserve {id}, Commit: {name}"))
            .answer(format!(
                "held {held}, used {exact}, charged {}",
                done.credits
            ))
            .expect("held by it", 10, held)
            .expect("charged", charged, done.credits)
            .balance(left, response.balance.as_ref());
    }
    stage
        .reserve(reserve("edit-3", edit, tokens(4_000, 3_000)))
        .await?;
    let request = pb::ReleaseRequest {
        account_id: ACCOUNT.to_owned(),
        reservation_id: "edit-3".to_owned(),
        reason: "the editor was closed".to_owned(),
    };
    let response = answered("Release", stage.quota().release(request).await)?;
    play.step("Reserve edit-3, Release: not run")
        .answer(format!("returned {}", response.returned))
        .expect("returned", 10, response.returned)
        .balance(Left::free(450), response.balance.as_ref());
    Ok(())
}
