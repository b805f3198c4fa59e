//! Credits given, taken back and returned: grant, void, refund.

use clap::ValueEnum;

use crate::{
    cli::{
        client::{Call, Key, failure},
        document::{incomplete, write, write_keyed},
        exit::Exit,
        output::{Failure, Output},
        show, values,
    },
    pb::{self, grant_credits_request::Amount},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GrantArgs {
    /// The account
    account: String,

    /// A pack of the catalogue; it never expires
    #[arg(
        long,
        required_unless_present = "credits",
        conflicts_with_all = ["credits", "kind", "expires_at"]
    )]
    pack: Option<String>,

    /// A number of credits, instead of a pack
    #[arg(long, value_name = "N", value_parser = values::some_credits, allow_negative_numbers = true, requires = "kind")]
    credits: Option<u64>,

    /// What the credits are
    #[arg(long, value_enum)]
    kind: Option<Kind>,

    /// The grant, unique within the account
    #[arg(long)]
    id: Option<String>,

    /// From when on they can be spent [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    effective_at: Option<prost_types::Timestamp>,

    /// From when on they can't be spent any more [default: never]
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    expires_at: Option<prost_types::Timestamp>,

    /// A grant with a lower number is spent first [default: by kind]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,

    /// Why; kept in the ledger
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A promotion
    Promo,
    /// A correction by support
    Adjustment,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VoidArgs {
    /// The account
    account: String,

    /// The grant
    grant: String,

    /// Why; kept in the ledger
    #[arg(long)]
    reason: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RefundArgs {
    /// The account
    account: String,

    /// The reservation or charge that was settled
    reservation: String,

    /// How many credits [default: all that are not refunded yet]
    #[arg(long, value_name = "N", value_parser = values::some_credits, allow_negative_numbers = true)]
    credits: Option<u64>,

    /// The refund, unique within the account
    #[arg(long)]
    id: Option<String>,

    /// Why; kept in the ledger
    #[arg(long)]
    reason: String,

    /// Who decided it; kept in the ledger
    #[arg(long)]
    actor: String,
}

impl GrantArgs {
    fn message(&self, key: &Key) -> pb::GrantCreditsRequest {
        let kind = match self.kind {
            None => pb::GrantKind::Pack,
            Some(Kind::Promo) => pb::GrantKind::Promo,
            Some(Kind::Adjustment) => pb::GrantKind::Adjustment,
        };
        pb::GrantCreditsRequest {
            account_id: self.account.clone(),
            grant_id: key.id().to_owned(),
            kind: kind.into(),
            amount: match &self.pack {
                Some(pack) => Some(Amount::PackId(pack.clone())),
                None => self.credits.map(Amount::Credits),
            },
            effective_at: self.effective_at,
            expires_at: self.expires_at,
            priority: self.priority,
            reason: self.reason.clone(),
        }
    }
}

/// Gives credits.
pub(super) async fn grant(call: Call<GrantArgs>, output: Output) -> Result<Exit, Failure> {
    let key = Key::given_or_new(call.args.id.clone(), "--id", "grant");
    let message = call.args.message(&key);
    let client = call.server.connect().await?;
    let answer = key.answer(client.admin().grant_credits(client.request(message)).await)?;
    let grant = answer.grant.as_ref().ok_or_else(|| incomplete("grant"))?;
    write(output, &answer, |answer| {
        granted(grant, answer.balance.as_ref())
    })?;
    Ok(Exit::Ok)
}

/// Takes back what is left of a grant.
pub(super) async fn void(call: Call<VoidArgs>, output: Output) -> Result<Exit, Failure> {
    let message = pb::VoidGrantRequest {
        account_id: call.args.account,
        grant_id: call.args.grant,
        reason: call.args.reason,
    };
    let client = call.server.connect().await?;
    let answer = client.admin().void_grant(client.request(message)).await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    let grant = answer.grant.as_ref().ok_or_else(|| incomplete("grant"))?;
    write(output, &answer, |answer| {
        granted(grant, answer.balance.as_ref())
    })?;
    Ok(Exit::Ok)
}

fn granted(grant: &pb::Grant, balance: Option<&pb::Balance>) -> String {
    with_balance(show::grant_line(grant), balance)
}

fn with_balance(text: String, balance: Option<&pb::Balance>) -> String {
    match balance {
        Some(balance) => format!("{text}\n{}", show::balance_line(balance)),
        None => text,
    }
}

/// Returns charged credits.
pub(super) async fn refund(call: Call<RefundArgs>, output: Output) -> Result<Exit, Failure> {
    let args = call.args;
    let key = Key::given_or_new(args.id, "--id", "refund");
    let message = pb::RefundRequest {
        account_id: args.account,
        refund_id: key.id().to_owned(),
        reservation_id: args.reservation,
        // Zero is the contract's word for all that is left.
        credits: args.credits.unwrap_or_default(),
        reason: args.reason,
        actor: args.actor,
    };
    let client = call.server.connect().await?;
    let answer = key.answer(client.admin().refund(client.request(message)).await)?;
    let entry = answer.entry.as_ref().ok_or_else(|| incomplete("entry"))?;
    write_keyed(output, &answer, (&key, "refund_id"), |answer| {
        let text = format!("refunded {}", show::credits(entry.credits.unsigned_abs()));
        let text = format!("{text}\n{}", show::entry_line(entry));
        with_balance(text, answer.balance.as_ref())
    })?;
    Ok(Exit::Ok)
}
