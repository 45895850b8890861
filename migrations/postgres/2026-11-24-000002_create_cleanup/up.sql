-- Work that one process does at a time, of all that share the database.
CREATE TABLE job_lease (
    name       TEXT PRIMARY KEY,
    -- The run that is going on; NULL where none is.
    holder     UUID,
    -- Renewed while the run goes on: past it, whoever did it is gone.
    expires_at TIMESTAMPTZ NOT NULL,
    -- The latest scheduled time that was taken, so that no other takes it again.
    last_tick  TIMESTAMPTZ
);

CREATE TABLE cleanup_runs (
    id              UUID PRIMARY KEY,
    -- The process that did it.
    instance        UUID NOT NULL,
    trigger         TEXT NOT NULL,
    -- The scheduled time that it answers.
    tick            TIMESTAMPTZ UNIQUE,
    started_at      TIMESTAMPTZ NOT NULL,
    -- NULL while it goes on.
    finished_at     TIMESTAMPTZ,
    deleted_records BIGINT NOT NULL DEFAULT 0,
    deleted_events  BIGINT NOT NULL DEFAULT 0,
    released        BIGINT NOT NULL DEFAULT 0,
    -- Expired, and still there at the end.
    remaining       BIGINT,
    error           TEXT
);

-- Few rows at any time: a delivery is claimed and completed in one transaction.
CREATE INDEX webhook_idempotency_in_progress ON webhook_idempotency (lease_expires_at) WHERE status = 'in_progress';
-- Events that made an order are kept, and cost this index nothing.
CREATE INDEX webhook_event_without_order ON webhook_event (created_at) WHERE order_id IS NULL;
