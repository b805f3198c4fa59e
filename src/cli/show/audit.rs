//! Lines of the audit log, as a table.

use super::instant;
use crate::{
    cli::output::{Column, table},
    pb,
};

/// The calls as they come, one a line.
pub(crate) fn audit(entries: &[pb::AuditEntry]) -> String {
    let columns = [
        Column::Text("when"),
        Column::Text("who"),
        Column::Text("from"),
        Column::Text("call"),
        Column::Text("account"),
        Column::Text("key"),
        Column::Text("outcome"),
        Column::Text("request"),
    ];
    let rows = entries.iter().map(|entry| {
        vec![
            instant(entry.at.as_ref()),
            or_dash(&entry.principal),
            entry.peer.clone(),
            entry.method.clone(),
            or_dash(&entry.account_id),
            or_dash(&entry.key),
            outcome(entry),
            entry.request_id.clone(),
        ]
    });
    table(&columns, rows)
}

fn or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}

fn outcome(entry: &pb::AuditEntry) -> String {
    match entry.reason.as_str() {
        "" => entry.outcome.clone(),
        reason => format!("{} {reason}", entry.outcome),
    }
}
