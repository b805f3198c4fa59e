-- What this ledger is called, of which no other one is: a Redis belongs to one of them. A copy of
-- the database is the same ledger.
CREATE TABLE identity (
    id TEXT PRIMARY KEY
);
INSERT INTO identity VALUES (replace(gen_random_uuid()::text, '-', ''));
