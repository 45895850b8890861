-- Tells this database from all others, so that answers kept beside it, in a cache that several databases may share, are
-- never taken for those of another, nor for those of an earlier one of its name.
CREATE TABLE installation (
    id TEXT PRIMARY KEY
);
INSERT INTO installation (id) VALUES (replace(gen_random_uuid()::text, '-', ''));
