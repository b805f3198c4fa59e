//! What support reads: the ledger's entries, and the receipt of a conversation.

use std::mem;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{LIST_ROWS_MAX, PageArgs, more, paged};
use crate::{
    cli::{
        client::{Call, failure},
        document::write,
        exit::Exit,
        output::{Failure, Output},
        show, values,
    },
    domain::entry::EntryKind,
    pb,
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LedgerArgs {
    /// The account; may be left out where --conversation or --reservation is given
    #[arg(required_unless_present_any = ["conversation", "reservation"])]
    account: Option<String>,

    /// Of one conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,

    /// Of one reservation or charge
    #[arg(long, value_name = "ID")]
    reservation: Option<String>,

    /// Of these kinds, by commas
    #[arg(long = "kind", value_delimiter = ',', value_parser = kinds())]
    kinds: Vec<EntryKind>,

    /// Not before
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    from: Option<prost_types::Timestamp>,

    /// Before
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    until: Option<prost_types::Timestamp>,

    /// The most entries to show
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(LIST_ROWS_MAX)))]
    limit: u32,

    #[command(flatten)]
    start: PageArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConversationArgs {
    /// The conversation
    id: String,
}

fn kinds() -> impl TypedValueParser<Value = EntryKind> {
    PossibleValuesParser::new(EntryKind::ALL.map(EntryKind::name)).try_map(|name| {
        let mut all = EntryKind::ALL.into_iter();
        all.find(|kind| kind.name() == name).ok_or("no such kind")
    })
}

fn to_proto(kind: EntryKind) -> pb::EntryKind {
    match kind {
        EntryKind::Grant => pb::EntryKind::Grant,
        EntryKind::Usage => pb::EntryKind::Usage,
        EntryKind::Refund => pb::EntryKind::Refund,
        EntryKind::Expiry => pb::EntryKind::Expiry,
        EntryKind::Void => pb::EntryKind::Void,
        EntryKind::Renewal => pb::EntryKind::Renewal,
        EntryKind::PlanChange => pb::EntryKind::PlanChange,
        EntryKind::DebtRepaid => pb::EntryKind::DebtRepaid,
        EntryKind::Status => pb::EntryKind::Status,
        EntryKind::Repair => pb::EntryKind::Repair,
    }
}

impl LedgerArgs {
    fn message(&self, page_size: i32, page_token: String) -> pb::ListEntriesRequest {
        pb::ListEntriesRequest {
            account_id: self.account.clone().unwrap_or_default(),
            conversation_id: self.conversation.clone().unwrap_or_default(),
            reservation_id: self.reservation.clone().unwrap_or_default(),
            kinds: self
                .kinds
                .iter()
                .map(|kind| to_proto(*kind).into())
                .collect(),
            from: self.from,
            until: self.until,
            page_size,
            page_token,
        }
    }
}

/// Lists entries.
pub(super) async fn ledger(call: Call<LedgerArgs>, output: Output) -> Result<Exit, Failure> {
    let args = call.args;
    let client = call.server.connect().await?;
    let from = args.start.page_token.as_str();
    let page = async |page_size, page_token| {
        let message = args.message(page_size, page_token);
        let page = client.admin().list_entries(client.request(message)).await;
        let page = page.map_err(|status| failure(&status))?.into_inner();
        Ok((page.entries, page.next_page_token))
    };
    let (entries, next_page_token) = paged(args.limit, from, page).await?;
    let listed = pb::ListEntriesResponse {
        entries,
        next_page_token,
    };
    write(output, &listed, |listed| match listed.entries.is_empty() {
        true => "no entries".to_owned(),
        false => {
            let text = show::entries(&listed.entries);
            more(text, listed.entries.len(), from, &listed.next_page_token)
        }
    })?;
    Ok(Exit::Ok)
}

/// Shows the receipt of a conversation. One that nothing was charged to is not found.
pub(super) async fn conversation(
    call: Call<ConversationArgs>,
    output: Output,
) -> Result<Exit, Failure> {
    let id = call.args.id;
    let client = call.server.connect().await?;
    let mut answer = pb::GetConversationResponse::default();
    // Pages as long as the server has them: each is answered with the sums of all.
    let page = async |_, page_token| {
        let message = pb::GetConversationRequest {
            conversation_id: id.clone(),
            page_token,
            ..Default::default()
        };
        let request = client.request(message);
        let page = client.admin().get_conversation(request).await;
        answer = page.map_err(|status| failure(&status))?.into_inner();
        let entries = mem::take(&mut answer.entries);
        Ok((entries, answer.next_page_token.clone()))
    };
    (answer.entries, _) = paged(u32::MAX, "", page).await?;
    write(output, &answer, |answer| show::conversation(answer, &id))?;
    match answer.entries.is_empty() {
        true => Ok(Exit::NotFound),
        false => Ok(Exit::Ok),
    }
}
