//! A ledger's file in the hands of somebody who is not its ledger.

use std::path::Path;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};

/// Lets a connection write to the two views as if they were the tables that they show.
const WRITABLE_VIEWS: &str = "
    CREATE TEMP TRIGGER moved_account INSTEAD OF UPDATE ON main.accounts BEGIN
        UPDATE balances SET sequence = NEW.sequence, debt = NEW.debt
        WHERE account_id = OLD.account_id;
        UPDATE account_terms SET status = NEW.status, plan_id = NEW.plan_id,
            allowance = NEW.allowance, applied_change = NEW.applied_change
        WHERE account_id = OLD.account_id;
    END;
    CREATE TEMP TRIGGER moved_grant INSTEAD OF UPDATE ON main.grants BEGIN
        UPDATE grant_uses SET used = NEW.used
        WHERE account_id = OLD.account_id AND grant_id = OLD.grant_id;
        UPDATE grant_terms SET expired = NEW.expired, priority = NEW.priority
        WHERE account_id = OLD.account_id AND grant_id = OLD.grant_id;
    END;
    CREATE TEMP TRIGGER lost_grant INSTEAD OF DELETE ON main.grants BEGIN
        DELETE FROM grant_uses WHERE account_id = OLD.account_id AND grant_id = OLD.grant_id;
        DELETE FROM grant_terms WHERE account_id = OLD.account_id AND grant_id = OLD.grant_id;
    END;
    CREATE TEMP TRIGGER forged_grant INSTEAD OF INSERT ON main.grants BEGIN
        INSERT INTO grant_terms VALUES (NEW.account_id, NEW.grant_id, NEW.kind, NEW.amount,
            NEW.expired, NEW.priority, NEW.effective_at, NEW.expires_at, NEW.voided_at,
            NEW.due_at, NEW.source);
        INSERT INTO grant_uses VALUES (NEW.account_id, NEW.grant_id, NEW.used);
    END;";

/// Runs statements on the ledger's file.
pub async fn tamper(ledger: &Path, sql: &str) {
    let file = SqliteConnectOptions::new().filename(ledger);
    let mut connection = file.connect().await.expect("a ledger");
    for sql in [WRITABLE_VIEWS, sql] {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = done.execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    connection.close().await.expect("it closes");
}
