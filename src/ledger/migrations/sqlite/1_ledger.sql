-- The ledger, first version. Every transaction leaves all of these tables consistent with each
-- other, so a crash leaves what the last commit left. Amounts are whole credits, instants are
-- milliseconds of UTC since 1970. Rows of `entries` and `catalogs` are never changed or deleted.

-- "tolg": tells this file from every other program's database.
PRAGMA application_id = 1953459303;
PRAGMA user_version = 1;

-- The state that an account's entries add up to. Made when its creation is submitted, with
-- `sequence` 0; moved by settling. `last_change` counts the rows of `changes`.
CREATE TABLE accounts (
    account_id TEXT PRIMARY KEY NOT NULL,
    sequence INTEGER NOT NULL,
    debt INTEGER NOT NULL,
    last_change INTEGER NOT NULL,
    applied_change INTEGER NOT NULL,
    status TEXT NOT NULL,
    overage TEXT NOT NULL,
    plan_id TEXT NOT NULL,
    allowance INTEGER NOT NULL,
    next_plan_id TEXT,
    next_allowance INTEGER,
    anchor INTEGER NOT NULL,
    cycle_index INTEGER NOT NULL,
    cycle_start INTEGER NOT NULL,
    cycle_end INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- None of these indexes has a column that settling usage writes.
CREATE INDEX accounts_by_cycle_end ON accounts (cycle_end) WHERE status <> 'closed';
CREATE INDEX accounts_unapplied ON accounts (account_id) WHERE applied_change < last_change;

-- The state of each grant, without what is held of it: that is in the reservations. Settling
-- makes and moves them. `due_at` is `expires_at` for as long as something may be left to expire.
CREATE TABLE grants (
    account_id TEXT NOT NULL REFERENCES accounts (account_id),
    grant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount INTEGER NOT NULL,
    used INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    effective_at INTEGER NOT NULL,
    expires_at INTEGER,
    voided_at INTEGER,
    due_at INTEGER,
    source TEXT NOT NULL,
    PRIMARY KEY (account_id, grant_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_due_at ON grants (due_at) WHERE due_at IS NOT NULL;

-- One row per settled change; `body` is the whole entry, the other columns are what it is looked
-- up by. A table with row ids, so that the bodies are appended and only slim indexes are written
-- all over the file.
--
-- `slot` is the settlement key: the commit number where the settlement is the first of its key;
-- the negated sequence where the ledger had it already; absent for everything but usage.
-- `ends` says that a settlement ended its reservation. A refund has the conversation of the
-- reservation that it refunds.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY NOT NULL,
    account_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    credits INTEGER NOT NULL,
    reservation_id TEXT,
    slot INTEGER,
    ends INTEGER,
    conversation_id TEXT,
    occurred_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_by_account ON entries (account_id, sequence);
CREATE UNIQUE INDEX entries_by_reservation ON entries (reservation_id, account_id, slot)
    WHERE reservation_id IS NOT NULL;
CREATE INDEX entries_by_conversation ON entries (conversation_id)
    WHERE conversation_id IS NOT NULL;
CREATE INDEX entries_by_time ON entries (occurred_at);

-- Administrative changes, before they are applied and for ever after. `payload` is what the
-- caller asked for, as an array of [field, value].
CREATE TABLE changes (
    account_id TEXT NOT NULL REFERENCES accounts (account_id),
    number INTEGER NOT NULL,
    key TEXT,
    reservation_id TEXT,
    payload TEXT NOT NULL,
    body TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX changes_by_key ON changes (account_id, key) WHERE key IS NOT NULL;
CREATE INDEX changes_by_reservation ON changes (reservation_id, account_id)
    WHERE reservation_id IS NOT NULL;

-- What the hot store keeps of each reservation, as of its last flush: a log. Each row has what one
-- transaction put and dropped, in the hot store's own packed form; the newest mention of a
-- reservation counts. Settling adds rows at the end, and deletes the oldest ones after it has added
-- anew what still counts of them.
CREATE TABLE reservation_log (
    id INTEGER PRIMARY KEY NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- How far each shard of the hot store is in the ledger. Settling moves it by compare-and-set.
CREATE TABLE cursors (
    shard INTEGER PRIMARY KEY NOT NULL,
    position INTEGER NOT NULL
) STRICT;

-- Every catalogue that ever priced anything.
CREATE TABLE catalogs (
    version TEXT PRIMARY KEY NOT NULL,
    yaml TEXT NOT NULL,
    put_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
