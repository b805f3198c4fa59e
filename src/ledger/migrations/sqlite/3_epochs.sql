-- Which store the ledger takes entries from: a shard is fenced when it may have lost something.
PRAGMA user_version = 3;

-- Only batches of a shard's `epoch` move its cursor; whoever fences the shard adds one to it and
-- leaves the name of the store that settles from then on.
ALTER TABLE cursors ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cursors ADD COLUMN server TEXT NOT NULL DEFAULT '';

-- Where epochs began: histories of epochs before `epoch` are the ledger's up to `position`, unless
-- an earlier fence of the shard says less. Of several fences at one position the last is kept.
CREATE TABLE fences (
    shard INTEGER NOT NULL,
    position INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (shard, position)
) STRICT, WITHOUT ROWID;
