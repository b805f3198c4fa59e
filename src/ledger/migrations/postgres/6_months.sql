-- Months come and go, and nobody who settles waits for it: summing up a month may take hours.

-- Whether there is a partition for the month whose first instant this is.
CREATE FUNCTION has_entries_partition(first BIGINT) RETURNS BOOLEAN
LANGUAGE sql AS $$
    SELECT EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'entries'::regclass
          AND pg_get_expr(c.relpartbound, c.oid) LIKE 'FOR VALUES FROM (''' || first || ''')%')
$$;

-- As it was, but a month that is there is found without any lock, whoever has it. One that is not
-- is looked for again under the lock: another process may just have made it.
CREATE OR REPLACE FUNCTION add_entries_partition(first BIGINT, until BIGINT, suffix TEXT)
RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    name TEXT := 'entries_' || suffix;
    counter INTEGER := 1;
BEGIN
    IF has_entries_partition(first) THEN
        RETURN FALSE;
    END IF;
    PERFORM pg_advisory_xact_lock('entries'::regclass::oid::bigint);
    IF has_entries_partition(first) THEN
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

-- As it was, but months are added until the very moment of detaching. Two things are locked while
-- the month is summed up:
--   `detached_entries` against another detaching, which adds to the same rows;
--   the partition against entries that would be in it and in no sum. Whoever brings one waits, and
--   has by then a lock on `entries` that detaching needs too: one of the two is told of a deadlock.
--
-- Detaching needs `entries` to itself, and behind whoever waits for that everybody else waits. So it
-- waits for two seconds (for `entries`, then for the partition: both together are less than the five
-- that a settlement waits), steps aside where somebody has been reading for longer, and tries
-- again, for two minutes in all. Then it fails, and nothing has happened.
CREATE OR REPLACE FUNCTION detach_entries(partition REGCLASS) RETURNS VOID
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    pause INTEGER := 1;
BEGIN
    LOCK TABLE detached_entries IN SHARE ROW EXCLUSIVE MODE;
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
    LOOP
        BEGIN
            PERFORM pg_advisory_xact_lock('entries'::regclass::oid::bigint);
            EXECUTE format('ALTER TABLE entries DETACH PARTITION %s', partition);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            -- What this try has locked is free again.
            IF pause > 64 THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(pause);
        pause := pause * 2;
    END LOOP;
END
$$;
