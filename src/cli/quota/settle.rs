//! Settlements: commit and charge.

use clap::ValueEnum;

use crate::{
    cli::{
        amounts::{ActionArgs, Amount, AmountArgs},
        client::{Call, Key, failure},
        document::{incomplete, write},
        exit::Exit,
        output::{Failure, Output},
        show, values,
    },
    pb::{self, charge_request, charge_response::Result as ChargeResult, commit_request},
};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Usage counts from the action's start, so that a report that is lost or sent twice does no harm.
With --keep-open and --next-hold it is settled even where the next hold is denied; then it ends
with exit code 3 and says why.")]
pub(crate) struct CommitArgs {
    /// The account
    account: String,

    /// The reservation
    id: String,

    #[command(flatten)]
    amount: AmountArgs,

    /// How the action ended; the catalogue says what each outcome is charged
    #[arg(long, value_enum, default_value_t = Outcome::Succeeded)]
    outcome: Outcome,

    /// More commits will follow: keep what is left of the hold
    #[arg(long)]
    keep_open: bool,

    /// Credits to hold for what comes next, after this usage is settled
    #[arg(long, value_name = "N", value_parser = values::whole, allow_negative_numbers = true, requires = "keep_open")]
    next_hold: Option<u64>,

    /// Needed only where the reservation may not be known any more
    #[command(
        flatten,
        next_help_heading = "For a reservation that is not known any more"
    )]
    action: ActionArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ChargeArgs {
    /// The account
    account: String,

    /// The charge, unique within the account among charges and reservations
    #[arg(long)]
    id: Option<String>,

    #[command(flatten)]
    action: ActionArgs,

    #[command(flatten)]
    amount: AmountArgs,

    /// Charge even what the balance does not cover, by the account's overage policy
    #[arg(long)]
    force: bool,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// It gave its result
    Succeeded,
    /// It gave none, and the platform is to blame
    Failed,
    /// The caller stopped it
    Cancelled,
}

impl Outcome {
    fn to_proto(self) -> pb::Outcome {
        match self {
            Outcome::Succeeded => pb::Outcome::Succeeded,
            Outcome::Failed => pb::Outcome::Failed,
            Outcome::Cancelled => pb::Outcome::Cancelled,
        }
    }

    /// Its name, where it may have changed the price.
    fn notable(self) -> Option<&'static str> {
        match self {
            Outcome::Succeeded => None,
            Outcome::Failed => Some("failed"),
            Outcome::Cancelled => Some("cancelled"),
        }
    }
}

impl CommitArgs {
    /// An action that gave no result may have used nothing; else the amount must be said.
    fn message(&self) -> Result<pb::CommitRequest, Failure> {
        let amount = match self.outcome {
            Outcome::Succeeded => self.amount.required()?,
            Outcome::Failed | Outcome::Cancelled => {
                let none = Amount::Usage(pb::Usage::default());
                self.amount.amount()?.unwrap_or(none)
            }
        };
        Ok(pb::CommitRequest {
            account_id: self.account.clone(),
            reservation_id: self.id.clone(),
            amount: Some(match amount {
                Amount::Usage(usage) => commit_request::Amount::Usage(usage),
                Amount::Credits(credits) => commit_request::Amount::Credits(credits),
            }),
            outcome: self.outcome.to_proto().into(),
            keep_open: self.keep_open,
            next_hold: self.next_hold.unwrap_or_default(),
            action: self.action.action()?,
        })
    }
}

/// Settles usage of a reservation.
pub(super) async fn commit(call: Call<CommitArgs>, output: Output) -> Result<Exit, Failure> {
    let args = call.args;
    let message = args.message()?;
    let client = call.server.connect().await?;
    let answer = client.quota().commit(client.request(message)).await;
    let answer = answer.map_err(|status| {
        let hint = "an exact repetition of a commit counts once: it is safe to send it again";
        match failure(&status) {
            failure if failure.exit == Exit::Unavailable => failure.hint(hint),
            failure => failure,
        }
    })?;
    let answer = answer.into_inner();
    let outcome = args.outcome.notable();
    write(output, &answer, |answer| {
        show::committed(answer, &args.account, outcome)
    })?;
    match answer.next_hold_denial {
        Some(_) => Ok(Exit::Denied),
        None => Ok(Exit::Ok),
    }
}

/// Charges an action whose cost is known at once.
pub(super) async fn charge(call: Call<ChargeArgs>, output: Output) -> Result<Exit, Failure> {
    let args = call.args;
    let key = Key::given_or_new(args.id, "--id", "chg");
    let action = args.action.required()?;
    let message = pb::ChargeRequest {
        account_id: args.account.clone(),
        charge_id: key.id().to_owned(),
        action: Some(action.clone()),
        amount: Some(match args.amount.required()? {
            Amount::Usage(usage) => charge_request::Amount::Usage(usage),
            Amount::Credits(credits) => charge_request::Amount::Credits(credits),
        }),
        force: args.force,
    };
    let client = call.server.connect().await?;
    let answer = key.answer(client.quota().charge(client.request(message)).await)?;
    let exit = match answer.result.as_ref().ok_or_else(|| incomplete("result"))? {
        ChargeResult::Receipt(_) => Exit::Ok,
        ChargeResult::Denial(_) => Exit::Denied,
    };
    write(output, &answer, |answer| {
        show::charged(answer, &args.account, &action.mode)
    })?;
    Ok(exit)
}
