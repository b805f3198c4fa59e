//! Accounts: making them, showing them, their plan and their status.

use clap::ValueEnum;

use super::{KEYS, LIST_ROWS_MAX, PageArgs, more, paged};
use crate::{
    cli::{
        client::{Client, Key, ServerArgs, failure},
        document::{Answer, incomplete, write, write_keyed},
        exit::Exit,
        output::{Failure, Output},
        show, values,
    },
    pb,
};

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account; its id is the idempotency key
    Create(CreateArgs),
    /// An account with its grants, in the order in which they are spent
    Show(IdArgs),
    /// All accounts by id
    List(ListArgs),
    /// Move to another plan; credits used in this cycle stay used
    #[command(after_help = KEYS)]
    Plan(PlanArgs),
    /// No new holds; open ones still settle
    Suspend(StatusArgs),
    /// Let it hold credits again
    Activate(StatusArgs),
    /// As suspend, and void the grants that it has for good; later ones wait for `activate`
    Close(CloseArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The account
    id: String,

    /// A plan of the catalogue
    #[arg(long)]
    plan: String,

    /// When the subscription started, the anchor of its cycles [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    subscribed_at: Option<prost_types::Timestamp>,

    /// What becomes of usage above the hold that no grant covers
    #[arg(long, value_enum, default_value_t = Overage::Debt)]
    overage: Overage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Overage {
    /// The account owes it; the next grant pays it first
    Debt,
    /// Written off, and counted
    Absorb,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct IdArgs {
    /// The account
    id: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The most accounts to show
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(LIST_ROWS_MAX)))]
    limit: u32,

    #[command(flatten)]
    start: PageArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// The account
    id: String,

    /// A plan of the catalogue
    plan: String,

    /// This change, unique within the account
    #[arg(long, value_name = "ID")]
    change_id: Option<String>,

    /// Wait for the renewal [default: an upgrade acts at once, a downgrade waits]
    #[arg(long, conflicts_with = "now")]
    at_renewal: bool,

    /// Act at once
    #[arg(long)]
    now: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The account
    id: String,

    /// Why; kept in the ledger
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CloseArgs {
    #[command(flatten)]
    status: StatusArgs,

    /// Void its grants, which can't be undone
    #[arg(long)]
    yes: bool,
}

/// Runs one of them.
pub(super) async fn run(
    command: AccountCommand,
    server: &ServerArgs,
    output: Output,
) -> Result<Exit, Failure> {
    match command {
        AccountCommand::Create(args) => create(args, &server.connect().await?, output).await,
        AccountCommand::Show(args) => show(args, &server.connect().await?, output).await,
        AccountCommand::List(args) => list(args, &server.connect().await?, output).await,
        AccountCommand::Plan(args) => plan(args, &server.connect().await?, output).await,
        AccountCommand::Suspend(args) => {
            status(args, pb::AccountStatus::Suspended, server, output).await
        }
        AccountCommand::Activate(args) => {
            status(args, pb::AccountStatus::Active, server, output).await
        }
        AccountCommand::Close(args) if args.yes => {
            status(args.status, pb::AccountStatus::Closed, server, output).await
        }
        AccountCommand::Close(args) => {
            let message = format!("closing {} voids its grants for good", args.status.id);
            Err(Failure::new(Exit::Usage, message)
                .hint("add --yes if that is meant")
                .hint("`tollgate account suspend` stops new holds and keeps the grants"))
        }
    }
}

fn write_account<A: Answer>(
    output: Output,
    answer: &A,
    account: Option<&pb::Account>,
) -> Result<Exit, Failure> {
    let account = account.ok_or_else(|| incomplete("account"))?;
    write(output, answer, |_| show::account(account))?;
    Ok(Exit::Ok)
}

async fn create(args: CreateArgs, client: &Client, output: Output) -> Result<Exit, Failure> {
    let key = Key::given_or_new(Some(args.id), "ID", "acc");
    let overage_policy = match args.overage {
        Overage::Debt => pb::OveragePolicy::Debt,
        Overage::Absorb => pb::OveragePolicy::Absorb,
    };
    let message = pb::CreateAccountRequest {
        account_id: key.id().to_owned(),
        plan_id: args.plan,
        subscribed_at: args.subscribed_at,
        overage_policy: overage_policy.into(),
    };
    let answer = key.answer(client.admin().create_account(client.request(message)).await)?;
    write_account(output, &answer, answer.account.as_ref())
}

async fn show(args: IdArgs, client: &Client, output: Output) -> Result<Exit, Failure> {
    let message = pb::GetAccountRequest {
        account_id: args.id,
    };
    let answer = client.admin().get_account(client.request(message)).await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    write_account(output, &answer, answer.account.as_ref())
}

async fn list(args: ListArgs, client: &Client, output: Output) -> Result<Exit, Failure> {
    let from = args.start.page_token.as_str();
    let page = async |page_size, page_token| {
        let message = pb::ListAccountsRequest {
            page_size,
            page_token,
        };
        let page = client.admin().list_accounts(client.request(message)).await;
        let page = page.map_err(|status| failure(&status))?.into_inner();
        Ok((page.accounts, page.next_page_token))
    };
    let (accounts, next_page_token) = paged(args.limit, from, page).await?;
    let listed = pb::ListAccountsResponse {
        accounts,
        next_page_token,
    };
    write(output, &listed, |listed| {
        let text = show::accounts(&listed.accounts);
        more(text, listed.accounts.len(), from, &listed.next_page_token)
    })?;
    Ok(Exit::Ok)
}

async fn plan(args: PlanArgs, client: &Client, output: Output) -> Result<Exit, Failure> {
    let key = Key::given_or_new(args.change_id, "--change-id", "plan");
    let message = pb::ChangePlanRequest {
        account_id: args.id,
        change_id: key.id().to_owned(),
        plan_id: args.plan,
        at_renewal: (args.at_renewal || args.now).then_some(args.at_renewal),
    };
    let answer = key.answer(client.admin().change_plan(client.request(message)).await)?;
    let account = answer
        .account
        .as_ref()
        .ok_or_else(|| incomplete("account"))?;
    write_keyed(output, &answer, (&key, "change_id"), |_| {
        show::account(account)
    })?;
    Ok(Exit::Ok)
}

async fn status(
    args: StatusArgs,
    status: pb::AccountStatus,
    server: &ServerArgs,
    output: Output,
) -> Result<Exit, Failure> {
    let client = server.connect().await?;
    let message = pb::SetAccountStatusRequest {
        account_id: args.id,
        status: status.into(),
        reason: args.reason,
    };
    let answer = client
        .admin()
        .set_account_status(client.request(message))
        .await;
    let answer = answer.map_err(|status| failure(&status))?.into_inner();
    write_account(output, &answer, answer.account.as_ref())
}
