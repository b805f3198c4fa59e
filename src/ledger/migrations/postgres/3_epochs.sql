-- Which store the ledger takes entries from: a shard is fenced when it may have lost something.

-- Only batches of a shard's `epoch` move its cursor; whoever fences the shard adds one to it and
-- leaves the name of the store that settles from then on. Both take the cursor's row lock.
ALTER TABLE cursors
    ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN server TEXT NOT NULL DEFAULT '';

-- Where epochs began: histories of epochs before `epoch` are the ledger's up to `position`, unless
-- an earlier fence of the shard says less. Of several fences at one position the last is kept.
-- Written in the transaction that fences.
CREATE TABLE fences (
    shard BIGINT NOT NULL,
    position BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (shard, position)
);
