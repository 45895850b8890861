-- How many records there are, kept by triggers in the very transactions that change them, so that nobody has to scan.
-- Of records that are settled only: those in progress are few, and counted by their own index.
CREATE TABLE record_totals (
    webhook_type TEXT NOT NULL,
    -- All zeroes where there is none.
    retailer_id  TEXT NOT NULL,
    status       TEXT NOT NULL,
    -- Always 0: SQLite has one writer. PostgreSQL counts in a slot for each connection.
    slot         INTEGER NOT NULL,
    records      INTEGER NOT NULL,
    -- The sum of their replay_count.
    replays      INTEGER NOT NULL,
    PRIMARY KEY (webhook_type, retailer_id, status, slot)
) STRICT, WITHOUT ROWID;

-- The same records by the minute in which they expire, so that those that have expired are known without a scan.
CREATE TABLE record_expiries (
    minute       TEXT NOT NULL,
    webhook_type TEXT NOT NULL,
    retailer_id  TEXT NOT NULL,
    slot         INTEGER NOT NULL,
    records      INTEGER NOT NULL,
    PRIMARY KEY (minute, webhook_type, retailer_id, slot)
) STRICT, WITHOUT ROWID;

INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
SELECT webhook_type, coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), status, 0, count(*), sum(replay_count)
FROM webhook_idempotency WHERE status <> 'in_progress' GROUP BY 1, 2, 3;

INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
SELECT substr(expires_at, 1, 16) || ':00.000000Z', webhook_type,
    coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), 0, count(*)
FROM webhook_idempotency WHERE status <> 'in_progress' GROUP BY 1, 2, 3;

CREATE TRIGGER webhook_idempotency_counted AFTER INSERT ON webhook_idempotency
WHEN NEW.status <> 'in_progress'
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (NEW.webhook_type, coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), NEW.status, 0,
        1, NEW.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (substr(NEW.expires_at, 1, 16) || ':00.000000Z', NEW.webhook_type,
        coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), 0, 1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

CREATE TRIGGER webhook_idempotency_discounted AFTER DELETE ON webhook_idempotency
WHEN OLD.status <> 'in_progress'
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (OLD.webhook_type, coalesce(OLD.retailer_id, '00000000-0000-0000-0000-000000000000'), OLD.status, 0,
        -1, -OLD.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (substr(OLD.expires_at, 1, 16) || ':00.000000Z', OLD.webhook_type,
        coalesce(OLD.retailer_id, '00000000-0000-0000-0000-000000000000'), 0, -1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

CREATE TRIGGER webhook_idempotency_settled
AFTER UPDATE OF webhook_type, retailer_id, status, expires_at ON webhook_idempotency
WHEN OLD.status = 'in_progress' AND NEW.status <> 'in_progress'
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (NEW.webhook_type, coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), NEW.status, 0,
        1, NEW.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (substr(NEW.expires_at, 1, 16) || ':00.000000Z', NEW.webhook_type,
        coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), 0, 1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

CREATE TRIGGER webhook_idempotency_recounted
AFTER UPDATE OF webhook_type, retailer_id, status, expires_at ON webhook_idempotency
WHEN OLD.status <> 'in_progress'
    AND NOT (NEW.status = OLD.status AND NEW.webhook_type = OLD.webhook_type
        AND NEW.retailer_id IS OLD.retailer_id AND NEW.expires_at = OLD.expires_at)
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (OLD.webhook_type, coalesce(OLD.retailer_id, '00000000-0000-0000-0000-000000000000'), OLD.status, 0,
        -1, -OLD.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (substr(OLD.expires_at, 1, 16) || ':00.000000Z', OLD.webhook_type,
        coalesce(OLD.retailer_id, '00000000-0000-0000-0000-000000000000'), 0, -1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    SELECT NEW.webhook_type, coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), NEW.status, 0,
        1, NEW.replay_count
    WHERE NEW.status <> 'in_progress'
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    SELECT substr(NEW.expires_at, 1, 16) || ':00.000000Z', NEW.webhook_type,
        coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), 0, 1
    WHERE NEW.status <> 'in_progress'
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

-- What changes the replays alone; all else is recounted above.
CREATE TRIGGER webhook_idempotency_replayed AFTER UPDATE OF replay_count ON webhook_idempotency
WHEN NEW.status = OLD.status AND NEW.status <> 'in_progress' AND NEW.replay_count <> OLD.replay_count
    AND NEW.webhook_type = OLD.webhook_type AND NEW.retailer_id IS OLD.retailer_id AND NEW.expires_at = OLD.expires_at
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (NEW.webhook_type, coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), NEW.status, 0,
        0, NEW.replay_count - OLD.replay_count)
    ON CONFLICT DO UPDATE SET replays = replays + excluded.replays;
END;

-- What a process has counted in an hour, as it stands: only that process writes its rows, and each whole.
CREATE TABLE traffic_hours (
    -- New whenever the hour of a process changes, so that a clock that is set back overwrites nothing.
    id                   TEXT PRIMARY KEY NOT NULL,
    hour                 TEXT NOT NULL,
    instance             TEXT NOT NULL,
    received             INTEGER NOT NULL,
    first                INTEGER NOT NULL,
    replayed             INTEGER NOT NULL,
    duplicate_events     INTEGER NOT NULL,
    conflicts            INTEGER NOT NULL,
    mismatched           INTEGER NOT NULL,
    in_progress_rejected INTEGER NOT NULL,
    signature_rejected   INTEGER NOT NULL,
    malformed            INTEGER NOT NULL,
    failed               INTEGER NOT NULL,
    orders               INTEGER NOT NULL,
    -- Histograms of microseconds, in HdrHistogram's V2 form.
    first_latency        BLOB NOT NULL,
    replayed_latency     BLOB NOT NULL,
    lookup_latency       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_hours_hour ON traffic_hours (hour);

-- When something last came for a retailer, in seconds since 1970, and for how long nothing did before.
CREATE TABLE retailer_activity (
    retailer_id      TEXT PRIMARY KEY NOT NULL,
    last_at_s        INTEGER NOT NULL,
    -- The week in which that was, counted from 1970.
    week             INTEGER NOT NULL,
    -- The longest silence that ended in it, and in the week before.
    longest_s        INTEGER NOT NULL,
    longest_before_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How much there was, hour by hour.
CREATE TABLE statistics_snapshots (
    hour        TEXT PRIMARY KEY NOT NULL,
    taken_at    TEXT NOT NULL,
    active      INTEGER NOT NULL,
    expired     INTEGER NOT NULL,
    in_progress INTEGER NOT NULL,
    completed   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    total       INTEGER NOT NULL,
    size_bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The alerts that are firing, as each process sees it.
CREATE TABLE alerts (
    name     TEXT NOT NULL,
    instance TEXT NOT NULL,
    since    TEXT NOT NULL,
    -- Renewed while it fires: one that nobody renews is of a process that is gone.
    seen_at  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (name, instance)
) STRICT, WITHOUT ROWID;

-- What was deleted by runs that are not in cleanup_runs any more.
ALTER TABLE job_lease ADD COLUMN deleted_before INTEGER NOT NULL DEFAULT 0;

-- What became of each event of a delivery: a JSON array of objects as a batch is answered with.
ALTER TABLE webhook_idempotency ADD COLUMN events TEXT;

-- Keys are random, so that each in a second index costs every order and every deletion a page of its own. Webhooks are
-- looked up by scope and key; without a scope, as an operator may ask, only the others need this one.
DROP INDEX webhook_idempotency_key_expires_at;
CREATE INDEX webhook_idempotency_key_expires_at ON webhook_idempotency (idempotency_key, expires_at)
WHERE substr(scope, 1, 8) <> 'webhook:';
-- Newest first, of one kind, of one retailer, and of what failed.
DROP INDEX webhook_idempotency_webhook_type;
CREATE INDEX webhook_idempotency_webhook_type ON webhook_idempotency (webhook_type, created_at);
CREATE INDEX webhook_idempotency_retailer ON webhook_idempotency (retailer_id, created_at) WHERE retailer_id IS NOT NULL;
CREATE INDEX webhook_idempotency_failed ON webhook_idempotency (created_at) WHERE status = 'failed';
