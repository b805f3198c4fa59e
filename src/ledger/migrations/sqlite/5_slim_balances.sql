-- What settling usage moves stands in two slim tables: a page has some hundred rows of them, so
-- what is settled together changes few pages. `accounts` and `grants` are views of the whole.
PRAGMA user_version = 5;

ALTER TABLE accounts RENAME TO account_terms;
CREATE TABLE balances (
    account_id TEXT PRIMARY KEY NOT NULL REFERENCES account_terms (account_id),
    sequence INTEGER NOT NULL,
    debt INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO balances SELECT account_id, sequence, debt FROM account_terms;
ALTER TABLE account_terms DROP COLUMN sequence;
ALTER TABLE account_terms DROP COLUMN debt;
CREATE VIEW accounts AS
    SELECT account_id, sequence, debt, last_change, applied_change, status, overage, plan_id,
           allowance, next_plan_id, next_allowance, anchor, cycle_index, cycle_start, cycle_end
    FROM account_terms JOIN balances USING (account_id);

ALTER TABLE grants RENAME TO grant_terms;
CREATE TABLE grant_uses (
    account_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (account_id, grant_id),
    FOREIGN KEY (account_id, grant_id) REFERENCES grant_terms (account_id, grant_id)
) STRICT, WITHOUT ROWID;
INSERT INTO grant_uses SELECT account_id, grant_id, used FROM grant_terms;
ALTER TABLE grant_terms DROP COLUMN used;
CREATE VIEW grants AS
    SELECT account_id, grant_id, kind, amount, used, expired, priority, effective_at, expires_at,
           voided_at, due_at, source
    FROM grant_terms JOIN grant_uses USING (account_id, grant_id);
