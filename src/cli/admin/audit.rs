//! The audit log, as whoever looks into a case reads it.

use super::{LIST_ROWS_MAX, PageArgs, more, paged};
use crate::{
    cli::{
        client::{Call, failure},
        document::write,
        exit::Exit,
        output::{Failure, Output},
        show, values,
    },
    pb,
};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A change and its line, OK, are written together. Where the call then failed all the same, e.g. since
Redis did not answer in time, a second line with the same request says how it was answered: the
change is made, and whoever sends it again with its key is told so. A line is never changed.")]
pub(crate) struct AuditArgs {
    /// Of calls about one account
    account: Option<String>,

    /// By this principal of the access file
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,

    /// Of this method, e.g. Refund
    #[arg(long, value_name = "NAME")]
    method: Option<String>,

    /// Not before
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    from: Option<prost_types::Timestamp>,

    /// Before
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    until: Option<prost_types::Timestamp>,

    /// The most calls to show
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(LIST_ROWS_MAX)))]
    limit: u32,

    #[command(flatten)]
    start: PageArgs,
}

impl AuditArgs {
    fn message(&self, page_size: i32, page_token: String) -> pb::ListAuditRequest {
        pb::ListAuditRequest {
            account_id: self.account.clone().unwrap_or_default(),
            principal: self.principal.clone().unwrap_or_default(),
            method: self.method.clone().unwrap_or_default(),
            from: self.from,
            until: self.until,
            page_size,
            page_token,
        }
    }
}

/// Lists calls.
pub(super) async fn audit(call: Call<AuditArgs>, output: Output) -> Result<Exit, Failure> {
    let args = call.args;
    let client = call.server.connect().await?;
    let from = args.start.page_token.as_str();
    let page = async |page_size, page_token| {
        let message = args.message(page_size, page_token);
        let page = client.admin().list_audit(client.request(message)).await;
        let page = page.map_err(|status| failure(&status))?.into_inner();
        Ok((page.entries, page.next_page_token))
    };
    let (entries, next_page_token) = paged(args.limit, from, page).await?;
    let listed = pb::ListAuditResponse {
        entries,
        next_page_token,
    };
    write(output, &listed, |listed| match listed.entries.is_empty() {
        true => "no calls".to_owned(),
        false => {
            let text = show::audit(&listed.entries);
            more(text, listed.entries.len(), from, &listed.next_page_token)
        }
    })?;
    Ok(Exit::Ok)
}
