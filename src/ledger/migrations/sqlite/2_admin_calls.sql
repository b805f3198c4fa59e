-- The audit log.

PRAGMA user_version = 2;

-- A row for each call of AdminService that was answered, and for as many of those that were refused
-- at the gate as the process's bound lets through. Written before the answer goes out; no row is
-- ever changed or deleted.
CREATE TABLE admin_calls (
    id INTEGER PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    principal TEXT NOT NULL,
    peer TEXT NOT NULL,
    method TEXT NOT NULL,
    account_id TEXT NOT NULL,
    key TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT NOT NULL
) STRICT;
CREATE INDEX admin_calls_by_time ON admin_calls (at);
CREATE INDEX admin_calls_by_account ON admin_calls (account_id, at) WHERE account_id <> '';
CREATE TRIGGER admin_calls_are_not_changed BEFORE UPDATE ON admin_calls
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER admin_calls_are_not_deleted BEFORE DELETE ON admin_calls
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
