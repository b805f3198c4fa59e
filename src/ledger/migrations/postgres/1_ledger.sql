-- The ledger, first version. Every transaction leaves all of these tables consistent with each
-- other. Amounts are whole credits, instants are milliseconds of UTC since 1970, numbers of any
-- kind stay far below 2^63. Ids compare byte by byte, whatever the database's language is. Rows
-- of `entries` and `catalogs` are never changed or deleted.
--
-- Locks are taken in one order, so that nobody waits in a circle: cursors by shard, settled
-- reservations, accounts by id, grants, reservations; a submission takes its account alone.

-- The state that an account's entries add up to. Made when its creation is submitted, with
-- `sequence` 0; moved by settling, by compare-and-set on `sequence`. `last_change` counts the
-- rows of `changes`, and whoever adds one has locked this row.
--
-- Room is left in each page: settling usage writes no column of any index, so the new row finds
-- its place beside the old one and no index is touched.
CREATE TABLE accounts (
    account_id TEXT COLLATE "C" PRIMARY KEY,
    sequence BIGINT NOT NULL,
    debt BIGINT NOT NULL,
    last_change BIGINT NOT NULL,
    applied_change BIGINT NOT NULL,
    status TEXT NOT NULL,
    overage TEXT NOT NULL,
    plan_id TEXT COLLATE "C" NOT NULL,
    allowance BIGINT NOT NULL,
    next_plan_id TEXT COLLATE "C",
    next_allowance BIGINT,
    anchor BIGINT NOT NULL,
    cycle_index BIGINT NOT NULL,
    cycle_start BIGINT NOT NULL,
    cycle_end BIGINT NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX accounts_by_cycle_end ON accounts (cycle_end) WHERE status <> 'closed';
CREATE INDEX accounts_unapplied ON accounts (account_id) WHERE applied_change < last_change;

-- The state of each grant, without what is held of it: that is where the holds are. Settling
-- makes and moves them, in the transaction that moves their account, which is what makes sure
-- that there is one. `due_at` is `expires_at` for as long as something may be left to expire.
CREATE TABLE grants (
    account_id TEXT COLLATE "C" NOT NULL,
    grant_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    amount BIGINT NOT NULL,
    used BIGINT NOT NULL,
    expired BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    effective_at BIGINT NOT NULL,
    expires_at BIGINT,
    voided_at BIGINT,
    due_at BIGINT,
    source TEXT NOT NULL,
    PRIMARY KEY (account_id, grant_id)
) WITH (fillfactor = 70);
CREATE INDEX grants_by_due_at ON grants (due_at) WHERE due_at IS NOT NULL;

-- One row per settled change; `body` is the whole entry, the other columns are what it is looked
-- up by. `slot` is the settlement key: the commit number where the settlement is the first of its
-- key; the negated sequence where the ledger had it already; absent for everything but usage.
-- `ends` is 1 where a settlement ended its reservation. A refund has the conversation of the
-- reservation that it refunds.
--
-- Parted by the month in which an entry occurred, which is what people ask by: a question with a
-- time reads its months only, and the newest entries are read from the newest month alone.
--
-- A unique index of a parted table must contain what it is parted by, so none of them can hold
-- the ledger's two keys for ever, least of all once old months are detached. They are held by
-- rows that are never parted, moved in the same transaction under a row lock:
--   (account, sequence): an account moves only from the sequence before its first new entry to
--   the last one, so no number is given twice, and none is left out.
--   (account, reservation, commit): `settlements` has one row per reservation with its highest
--   commit, and takes a higher one only.
CREATE SEQUENCE entry_ids;
CREATE TABLE entries (
    id BIGINT NOT NULL DEFAULT nextval('entry_ids'),
    account_id TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    kind TEXT NOT NULL,
    credits BIGINT NOT NULL,
    reservation_id TEXT COLLATE "C",
    slot BIGINT,
    ends SMALLINT,
    conversation_id TEXT COLLATE "C",
    occurred_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account_id, sequence, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE INDEX entries_by_reservation ON entries (reservation_id, account_id)
    WHERE reservation_id IS NOT NULL;
CREATE INDEX entries_by_conversation ON entries (conversation_id)
    WHERE conversation_id IS NOT NULL;
CREATE INDEX entries_by_time ON entries (occurred_at, id);
-- A page token is an entry's id.
CREATE INDEX entries_by_id ON entries (id);

-- Each reservation that was ever settled: its highest commit, whether that one ended it, whether
-- the hot store forgot it and settled it anew (which was reversed), how many usage entries it has
-- and what they charged, corrections taken off. Written by settling; stays when months go.
CREATE TABLE settlements (
    account_id TEXT COLLATE "C" NOT NULL,
    reservation_id TEXT COLLATE "C" NOT NULL,
    last_commit BIGINT NOT NULL,
    ended BOOLEAN NOT NULL,
    forgotten BOOLEAN NOT NULL,
    entries BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    PRIMARY KEY (account_id, reservation_id)
) WITH (fillfactor = 90);

-- What the entries of detached months added up to, so that the audit still can: for each account,
-- and for each of its grants. Written by `detach_entries` only.
CREATE TABLE detached_entries (
    account_id TEXT COLLATE "C" PRIMARY KEY,
    entries BIGINT NOT NULL,
    last_sequence BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    changes BIGINT NOT NULL
);
CREATE TABLE detached_moves (
    account_id TEXT COLLATE "C" NOT NULL,
    grant_id TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    used BIGINT NOT NULL,
    expired BIGINT NOT NULL,
    PRIMARY KEY (account_id, grant_id)
);

-- Administrative changes, before they are applied and for ever after. `payload` is what the
-- caller asked for, as an array of [field, value].
CREATE TABLE changes (
    account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts (account_id),
    number BIGINT NOT NULL,
    key TEXT COLLATE "C",
    reservation_id TEXT COLLATE "C",
    payload TEXT NOT NULL,
    body TEXT NOT NULL,
    submitted_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, number)
);
CREATE UNIQUE INDEX changes_by_key ON changes (account_id, key) WHERE key IS NOT NULL;
CREATE INDEX changes_by_reservation ON changes (reservation_id, account_id)
    WHERE reservation_id IS NOT NULL;

-- What a hot store that has no disk keeps of each reservation, as of its last flush. Settling
-- puts and deletes.
CREATE TABLE reservations (
    account_id TEXT COLLATE "C" NOT NULL,
    reservation_id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account_id, reservation_id)
) WITH (fillfactor = 70);

-- How far each shard of the hot store is in the ledger. Settling moves it by compare-and-set, and
-- holds its row until the end of the transaction: of two settlers on one shard one waits, finds
-- the cursor moved, and writes nothing.
CREATE TABLE cursors (
    shard BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Every catalogue that ever priced anything.
CREATE TABLE catalogs (
    version TEXT COLLATE "C" PRIMARY KEY,
    yaml TEXT NOT NULL,
    put_at BIGINT NOT NULL
);

-- Makes the partition for the months' instants from `first` up to `until`, unless there is one
-- that has `first`; answers whether it made one. A name that is taken, say by a month that was
-- detached and is still there, gets a number. Attaching locks nobody out who reads or writes.
CREATE FUNCTION add_entries_partition(first BIGINT, until BIGINT, suffix TEXT) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
DECLARE
    name TEXT := 'entries_' || suffix;
    counter INTEGER := 1;
BEGIN
    PERFORM pg_advisory_xact_lock('entries'::regclass::oid::bigint);
    IF EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'entries'::regclass
          AND pg_get_expr(c.relpartbound, c.oid) LIKE 'FOR VALUES FROM (''' || first || ''')%'
    ) THEN
        RETURN FALSE;
    END IF;
    WHILE to_regclass(quote_ident(name)) IS NOT NULL LOOP
        counter := counter + 1;
        name := 'entries_' || suffix || '_' || counter;
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE entries INCLUDING DEFAULTS INCLUDING INDEXES)', name);
    EXECUTE format('ALTER TABLE entries ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                   name, first, until);
    RETURN TRUE;
END
$$;

-- Detaches one month's partition and keeps what its entries added up to. No balance changes, and
-- no settlement of that month is taken a second time; only its lines can't be read or refunded any
-- more. The table stays, for whoever archives it; drop it when that is done.
CREATE FUNCTION detach_entries(partition REGCLASS) RETURNS VOID
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('entries'::regclass::oid::bigint);
    IF NOT EXISTS (
        SELECT FROM pg_inherits WHERE inhparent = 'entries'::regclass AND inhrelid = partition
    ) THEN
        RAISE EXCEPTION '% is not a partition of entries', partition;
    END IF;
    EXECUTE format('LOCK TABLE %s IN SHARE MODE', partition);
    EXECUTE format(
        'INSERT INTO detached_entries AS d
         SELECT account_id, count(*), max(sequence), sum(credits),
                count(*) FILTER (
                    WHERE kind NOT IN (''usage'', ''expiry'', ''debt_repaid'', ''renewal'')
                      AND body::jsonb -> ''change'' IS NOT NULL)
         FROM %s GROUP BY account_id
         ON CONFLICT (account_id) DO UPDATE SET
             entries = d.entries + excluded.entries,
             last_sequence = greatest(d.last_sequence, excluded.last_sequence),
             credits = d.credits + excluded.credits,
             changes = d.changes + excluded.changes', partition);
    EXECUTE format(
        'INSERT INTO detached_moves AS d
         SELECT e.account_id, move ->> ''grant_id'',
                sum(coalesce((move ->> ''amount'')::bigint, 0)),
                sum(coalesce((move ->> ''used'')::bigint, 0)),
                sum(coalesce((move ->> ''expired'')::bigint, 0))
         FROM %s AS e, jsonb_array_elements(e.body::jsonb -> ''moves'') AS move GROUP BY 1, 2
         ON CONFLICT (account_id, grant_id) DO UPDATE SET
             amount = d.amount + excluded.amount,
             used = d.used + excluded.used,
             expired = d.expired + excluded.expired', partition);
    EXECUTE format('ALTER TABLE entries DETACH PARTITION %s', partition);
END
$$;
