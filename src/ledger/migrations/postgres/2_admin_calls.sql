-- The audit log.

-- A row for each call of AdminService that was answered, and for as many of those that were refused
-- at the gate as each process's bound lets through. Written before the answer goes out; no row is
-- ever changed or deleted: whoever must drop old rows disables the trigger, and that shows.
CREATE TABLE admin_calls (
    id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at BIGINT NOT NULL,
    principal TEXT NOT NULL,
    peer TEXT NOT NULL,
    method TEXT NOT NULL,
    account_id TEXT NOT NULL,
    key TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT NOT NULL
);
CREATE INDEX admin_calls_by_time ON admin_calls (at, id);
CREATE INDEX admin_calls_by_account ON admin_calls (account_id, at, id) WHERE account_id <> '';
CREATE FUNCTION admin_calls_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER admin_calls_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_calls
    FOR EACH STATEMENT EXECUTE FUNCTION admin_calls_append_only();
