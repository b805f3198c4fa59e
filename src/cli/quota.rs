//! The commands of the hot path: quote, reserve, extend, commit, release, charge, balance,
//! reservation. Each is one call to a running server, and never more than one.

mod hold;
mod settle;

pub(crate) use self::{
    hold::{ExtendArgs, ReleaseArgs, ReserveArgs},
    settle::{ChargeArgs, CommitArgs},
};
use super::{
    amounts::{ActionArgs, QuantityArgs},
    client::{Call, failure},
    document::{incomplete, write},
    exit::Exit,
    output::{Failure, Output},
    show,
};
use crate::pb;

/// Said under the help of every command that takes an idempotency key.
const KEYS: &str = "\
The id is the idempotency key: the same command with the same id counts once, however often it is
sent. Without one, an id is made and printed; a script should give its own.";

/// Said under the help of those whose answer is a hold.
const HOLDS: &str = "\
The id is the idempotency key: the same command with the same id counts once, however often it is
sent. Without one, an id is made and printed; a script should give its own.
Exits with 0 only where the hold stands: a request that was answered before is answered with the
reservation as it is now, and where that was settled, released or has expired since, nothing is held
and the exit code is 5.";

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum QuotaCommand {
    /// Price an action: every line of the price, and the credits
    Quote(Call<QuoteArgs>),
    /// Set credits aside before an action
    #[command(after_help = HOLDS)]
    Reserve(Call<ReserveArgs>),
    /// Add credits to an open hold, prolong it, or both
    #[command(after_help = HOLDS)]
    Extend(Call<ExtendArgs>),
    /// Settle what an action really used; never refused for want of credits
    Commit(Call<CommitArgs>),
    /// Give a hold back: the action did not run
    Release(Call<ReleaseArgs>),
    /// Reserve and commit in one step
    #[command(after_help = KEYS)]
    Charge(Call<ChargeArgs>),
    /// What an account has left
    Balance(Call<BalanceArgs>),
    /// A reservation as it is now: what it holds and until when, or how it ended
    Reservation(Call<ReservationArgs>),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct QuoteArgs {
    #[command(flatten)]
    action: ActionArgs,
    #[command(flatten)]
    quantities: QuantityArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BalanceArgs {
    /// The account
    account: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReservationArgs {
    /// The account
    account: String,

    /// The reservation
    id: String,
}

/// Runs one of them.
pub(crate) async fn run(command: QuotaCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        QuotaCommand::Quote(call) => quote(call, output).await,
        QuotaCommand::Reserve(call) => hold::reserve(call, output).await,
        QuotaCommand::Extend(call) => hold::extend(call, output).await,
        QuotaCommand::Commit(call) => settle::commit(call, output).await,
        QuotaCommand::Release(call) => hold::release(call, output).await,
        QuotaCommand::Charge(call) => settle::charge(call, output).await,
        QuotaCommand::Balance(call) => balance(call, output).await,
        QuotaCommand::Reservation(call) => reservation(call, output).await,
    }
}

async fn quote(call: Call<QuoteArgs>, output: Output) -> Result<Exit, Failure> {
    let action = call.args.action.required()?;
    let message = pb::QuoteRequest {
        action: Some(action.clone()),
        estimate: Some(call.args.quantities.usage()?.unwrap_or_default()),
    };
    let client = call.server.connect().await?;
    let answer = client.quota().quote(client.request(message)).await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    let price = answer.price.as_ref().ok_or_else(|| incomplete("price"))?;
    write(output, &answer, |_| {
        let table = show::price_table(price, &action.mode, None);
        format!("{}\n\n{table}", show::headline(price, &action))
    })?;
    Ok(Exit::Ok)
}

async fn balance(call: Call<BalanceArgs>, output: Output) -> Result<Exit, Failure> {
    let account_id = call.args.account;
    let message = pb::GetBalanceRequest {
        account_id: account_id.clone(),
    };
    let client = call.server.connect().await?;
    let answer = client.quota().get_balance(client.request(message)).await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    let balance = answer
        .balance
        .as_ref()
        .ok_or_else(|| incomplete("balance"))?;
    write(output, &answer, |_| show::balance(balance, &account_id))?;
    Ok(Exit::Ok)
}

async fn reservation(call: Call<ReservationArgs>, output: Output) -> Result<Exit, Failure> {
    let message = pb::GetReservationRequest {
        account_id: call.args.account,
        reservation_id: call.args.id,
    };
    let client = call.server.connect().await?;
    let answer = client
        .quota()
        .get_reservation(client.request(message))
        .await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    let hold = answer
        .reservation
        .as_ref()
        .ok_or_else(|| incomplete("reservation"))?;
    write(output, &answer, |_| show::reservation(hold))?;
    Ok(Exit::Ok)
}
