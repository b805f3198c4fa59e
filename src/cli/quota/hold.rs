//! Holds: reserve, extend, release.

use std::time::Duration;

use crate::{
    cli::{
        amounts::{ActionArgs, Amount, AmountArgs},
        client::{Call, Key, failure},
        document::{incomplete, write, write_keyed},
        exit::Exit,
        output::{Failure, Output},
        show, values,
    },
    pb::{
        self, ReservationState, extend_response::Result as ExtendResult, reserve_request,
        reserve_response::Result as ReserveResult,
    },
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReserveArgs {
    /// The account
    account: String,

    /// The reservation, unique within the account
    #[arg(long)]
    id: Option<String>,

    #[command(flatten)]
    action: ActionArgs,

    #[command(flatten)]
    amount: AmountArgs,

    /// Accept a smaller hold, down to this many credits
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true)]
    min_credits: Option<u64>,

    /// How long the hold stands, e.g. 60s, 10m [default: the server's]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    ttl: Option<Duration>,

    /// Decide, but hold nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExtendArgs {
    /// The account
    account: String,

    /// The reservation
    id: String,

    /// This extension, unique within the reservation
    #[arg(long, value_name = "ID")]
    extension_id: Option<String>,

    /// Credits to add to the hold
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true, required_unless_present = "ttl")]
    add: Option<u64>,

    /// How long the hold stands from now on, e.g. 60s, 10m
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    ttl: Option<Duration>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// The account
    account: String,

    /// The reservation
    id: String,

    /// Why the action did not run
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl ReserveArgs {
    fn message(&self, key: &Key) -> Result<pb::ReserveRequest, Failure> {
        Ok(pb::ReserveRequest {
            account_id: self.account.clone(),
            reservation_id: key.id().to_owned(),
            action: Some(self.action.required()?),
            amount: Some(match self.amount.required()? {
                Amount::Usage(usage) => reserve_request::Amount::Estimate(usage),
                Amount::Credits(credits) => reserve_request::Amount::Credits(credits),
            }),
            min_credits: self.min_credits,
            ttl: self.ttl.map(values::to_proto),
            dry_run: self.dry_run,
        })
    }
}

/// Sets credits aside.
pub(super) async fn reserve(call: Call<ReserveArgs>, output: Output) -> Result<Exit, Failure> {
    let args = call.args;
    let key = Key::given_or_new(args.id.clone(), "--id", "rsv");
    let message = args.message(&key)?;
    let client = call.server.connect().await?;
    let answer = key.answer(client.quota().reserve(client.request(message)).await)?;
    let exit = match answer.result.as_ref().ok_or_else(|| incomplete("result"))? {
        // A trial has no state.
        ReserveResult::Reservation(_) if args.dry_run => Exit::Ok,
        ReserveResult::Reservation(hold) => standing(hold),
        ReserveResult::Denial(_) => Exit::Denied,
    };
    write(output, &answer, |answer| {
        show::reserved(answer, &args.account, args.dry_run)
    })?;
    Ok(exit)
}

/// What a script may go on with: a request that was answered before is answered with the
/// reservation as it is now, and one that has ended holds nothing.
fn standing(hold: &pb::Reservation) -> Exit {
    match hold.state() {
        ReservationState::Open => Exit::Ok,
        ReservationState::Unspecified
        | ReservationState::Committed
        | ReservationState::Released
        | ReservationState::Expired => Exit::Conflict,
    }
}

/// Adds to a hold, or prolongs it.
pub(super) async fn extend(call: Call<ExtendArgs>, output: Output) -> Result<Exit, Failure> {
    let args = call.args;
    let key = Key::given_or_new(args.extension_id, "--extension-id", "ext");
    let message = pb::ExtendRequest {
        account_id: args.account.clone(),
        reservation_id: args.id,
        extension_id: key.id().to_owned(),
        add_credits: args.add.unwrap_or_default(),
        ttl: args.ttl.map(values::to_proto),
    };
    let client = call.server.connect().await?;
    let answer = key.answer(client.quota().extend(client.request(message)).await)?;
    let exit = match answer.result.as_ref().ok_or_else(|| incomplete("result"))? {
        ExtendResult::Reservation(hold) => standing(hold),
        ExtendResult::Denial(_) => Exit::Denied,
    };
    write_keyed(output, &answer, (&key, "extension_id"), |answer| {
        show::extended(answer, &args.account)
    })?;
    Ok(exit)
}

/// Gives a hold back.
pub(super) async fn release(call: Call<ReleaseArgs>, output: Output) -> Result<Exit, Failure> {
    let message = pb::ReleaseRequest {
        account_id: call.args.account,
        reservation_id: call.args.id,
        reason: call.args.reason,
    };
    let client = call.server.connect().await?;
    let answer = client.quota().release(client.request(message)).await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    write(output, &answer, show::released)?;
    Ok(Exit::Ok)
}
