-- Fewer keys for each entry. What an action charged is most often one entry, and there is a row of
-- `settlements` for it anyway: that one says where the entry is, and only further entries of a
-- reservation are found by an index of their own. A page token carries its place, so an entry is
-- never looked up by its id.
--
-- What is there stays as it is, and so does what a process of the version before goes on to write:
-- such an entry is not known to be the first, and is found by the index.

-- The entry that `is_first`, in the keys of `entries`. A reservation may be asked for without its
-- account.
ALTER TABLE settlements
    ADD COLUMN first_sequence BIGINT,
    ADD COLUMN first_at BIGINT,
    DROP CONSTRAINT settlements_pkey,
    ADD PRIMARY KEY (reservation_id, account_id);
ALTER TABLE entries ADD COLUMN is_first BOOLEAN;

DROP INDEX entries_by_reservation;
DROP INDEX entries_by_id;
CREATE INDEX entries_by_reservation ON entries (reservation_id, account_id)
    WHERE reservation_id IS NOT NULL AND is_first IS NOT TRUE;

-- The entries that name a reservation, all of them: its settlements and its refunds.
CREATE VIEW reservation_entries AS
SELECT id, account_id, sequence, kind, credits, reservation_id, slot, conversation_id,
       occurred_at, recorded_at, body
FROM entries WHERE reservation_id IS NOT NULL AND is_first IS NOT TRUE
UNION ALL
SELECT e.id, e.account_id, e.sequence, e.kind, e.credits, s.reservation_id, e.slot,
       e.conversation_id, e.occurred_at, e.recorded_at, e.body
FROM settlements AS s
JOIN entries AS e ON e.account_id = s.account_id AND e.sequence = s.first_sequence
                 AND e.occurred_at = s.first_at;
