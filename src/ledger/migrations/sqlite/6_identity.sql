-- What this ledger is called, of which no other one is: a Redis belongs to one of them.
PRAGMA user_version = 6;

CREATE TABLE identity (
    id TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO identity VALUES (lower(hex(randomblob(16))));
