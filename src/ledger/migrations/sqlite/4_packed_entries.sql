-- Entries are kept packed: JSON took four times as much.
PRAGMA user_version = 4;

-- The whole entry, in the form of src/domain/packed/entry.rs. Rows of earlier versions have none;
-- theirs is `body`, which is '{}' since.
ALTER TABLE entries ADD COLUMN packed BLOB;
-- What the audit adds up; in rows without `packed` it reads them from `body`. For usage, what was
-- charged, less what earlier commits had charged too much; and the change that an entry carries out.
ALTER TABLE entries ADD COLUMN charged INTEGER;
ALTER TABLE entries ADD COLUMN change INTEGER;
