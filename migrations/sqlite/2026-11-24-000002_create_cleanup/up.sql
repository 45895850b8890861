-- Work that one process does at a time, of all that share the database.
CREATE TABLE job_lease (
    name       TEXT PRIMARY KEY NOT NULL,
    -- The run that is going on; NULL where none is.
    holder     TEXT,
    -- Renewed while the run goes on: past it, whoever did it is gone.
    expires_at TEXT NOT NULL,
    -- The latest scheduled time that was taken, so that no other takes it again.
    last_tick  TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE cleanup_runs (
    id              TEXT PRIMARY KEY NOT NULL,
    -- The process that did it.
    instance        TEXT NOT NULL,
    trigger         TEXT NOT NULL,
    -- The scheduled time that it answers.
    tick            TEXT UNIQUE,
    started_at      TEXT NOT NULL,
    -- NULL while it goes on.
    finished_at     TEXT,
    deleted_records INTEGER NOT NULL DEFAULT 0,
    deleted_events  INTEGER NOT NULL DEFAULT 0,
    released        INTEGER NOT NULL DEFAULT 0,
    -- Expired, and still there at the end.
    remaining       INTEGER,
    error           TEXT
) STRICT;

-- Few rows at any time: a delivery is claimed and completed in one transaction.
CREATE INDEX webhook_idempotency_in_progress ON webhook_idempotency (lease_expires_at) WHERE status = 'in_progress';
-- Events that made an order are kept, and cost this index nothing.
CREATE INDEX webhook_event_without_order ON webhook_event (created_at) WHERE order_id IS NULL;
