//! The commands of the control plane: accounts, grants, refunds, and the ledger that support
//! reads. A change is one call; a list is as many as its pages.

mod accounts;
mod audit;
mod catalog;
mod grants;
mod records;

pub(crate) use self::{
    accounts::AccountCommand,
    audit::AuditArgs,
    catalog::CatalogArgs,
    grants::{GrantArgs, RefundArgs, VoidArgs},
    records::{ConversationArgs, LedgerArgs},
};
use super::{
    client::{Call, ServerArgs},
    exit::Exit,
    output::{Failure, Output},
};

/// Said under the help of every command that takes an idempotency key.
const KEYS: &str = "\
The id is the idempotency key: the same command with the same id counts once, however often it is
sent. Without one, an id is made and printed; a script should give its own, e.g. the webhook's.";

/// The most rows that one page of a list is asked for.
const PAGE_ROWS_MAX: u32 = 100;
/// The most rows that a list shows.
const LIST_ROWS_MAX: u32 = 100_000;
/// The most pages of one list: a server may return fewer rows than it was asked for.
const PAGES_MAX: u32 = 10_000;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum AdminCommand {
    /// Create, show and list accounts; change their plan or status
    Account {
        /// What to do.
        #[command(subcommand)]
        command: Box<AccountCommand>,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Give an account a pack, a promotion or an adjustment
    #[command(after_help = KEYS)]
    Grant(Box<Call<GrantArgs>>),
    /// Take back what is left of a grant
    Void(Call<VoidArgs>),
    /// Return charged credits to the grants that they came from
    #[command(after_help = KEYS)]
    Refund(Call<RefundArgs>),
    /// The ledger's entries, newest first
    Ledger(Box<Call<LedgerArgs>>),
    /// The audit log: who called the control plane, newest first
    Audit(Box<Call<AuditArgs>>),
    /// The receipt of a conversation: every action, its price, hold, grants and refunds
    Conversation(Call<ConversationArgs>),
    /// The catalogue in force: its version, plans and packs, and with --yaml its file
    Catalog(Call<CatalogArgs>),
}

/// Where a list starts.
#[derive(Clone, Debug, clap::Args)]
struct PageArgs {
    /// Go on after a list that was cut, with the next_page_token that it ended with and the same
    /// filters
    #[arg(
        long,
        value_name = "TOKEN",
        default_value = "",
        hide_default_value = true
    )]
    page_token: String,
}

/// Runs one of them.
pub(crate) async fn run(command: AdminCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        AdminCommand::Account { command, server } => accounts::run(*command, &server, output).await,
        AdminCommand::Grant(call) => grants::grant(*call, output).await,
        AdminCommand::Void(call) => grants::void(call, output).await,
        AdminCommand::Refund(call) => grants::refund(call, output).await,
        AdminCommand::Ledger(call) => records::ledger(*call, output).await,
        AdminCommand::Audit(call) => audit::audit(*call, output).await,
        AdminCommand::Conversation(call) => records::conversation(call, output).await,
        AdminCommand::Catalog(call) => catalog::catalog(call, output).await,
    }
}

/// The first `limit` rows of a list after the token `from`, and the token of what follows; an empty
/// one stands for the list's start, and for its end. `page` asks for one page, of so
/// many rows at most and after such a token, and answers it with the next one's token.
async fn paged<T>(
    limit: u32,
    from: &str,
    mut page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, String), Failure> {
    let mut listed = Vec::new();
    let mut token = from.to_owned();
    for _ in 0..PAGES_MAX {
        let (rows, next) = page(page_size(limit, listed.len()), token).await?;
        listed.extend(rows);
        token = next;
        if token.is_empty() || page_size(limit, listed.len()) == 0 {
            break;
        }
    }
    Ok((listed, token))
}

/// How many rows to ask for next, where `have` of `limit` are there.
fn page_size(limit: u32, have: usize) -> i32 {
    let have = u32::try_from(have).unwrap_or(u32::MAX);
    let rows = limit.saturating_sub(have).min(PAGE_ROWS_MAX);
    i32::try_from(rows).unwrap_or(i32::MAX)
}

/// The line under a list that was cut. `from` is the token that it started after.
fn more(text: String, shown: usize, from: &str, next_page_token: &str) -> String {
    let which = if from.is_empty() { "first" } else { "next" };
    match next_page_token {
        "" => text,
        next => format!(
            "{text}\n\nthe {which} {shown} are shown; --limit shows more, and --page-token {next} goes \
             on from there"
        ),
    }
}

#[cfg(test)]
mod tests;
