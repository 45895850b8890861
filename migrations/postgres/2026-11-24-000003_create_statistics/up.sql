-- How many records there are, kept by triggers in the very transactions that change them, so that nobody has to scan.
-- Of records that are settled only: those in progress are few, and counted by their own index.
CREATE TABLE record_totals (
    webhook_type TEXT NOT NULL,
    -- All zeroes where there is none.
    retailer_id  UUID NOT NULL,
    status       TEXT NOT NULL,
    -- The connection that counted, so that no two wait for each other; 0 for what a clean-up has added up.
    slot         INTEGER NOT NULL,
    records      BIGINT NOT NULL,
    -- The sum of their replay_count.
    replays      BIGINT NOT NULL,
    PRIMARY KEY (webhook_type, retailer_id, status, slot)
) WITH (fillfactor = 50);

-- The same records by the minute in which they expire, so that those that have expired are known without a scan.
CREATE TABLE record_expiries (
    minute       TIMESTAMPTZ NOT NULL,
    webhook_type TEXT NOT NULL,
    retailer_id  UUID NOT NULL,
    slot         INTEGER NOT NULL,
    records      BIGINT NOT NULL,
    PRIMARY KEY (minute, webhook_type, retailer_id, slot)
) WITH (fillfactor = 50);

INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
SELECT webhook_type, coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), status, 0, count(*), sum(replay_count)
FROM webhook_idempotency WHERE status <> 'in_progress' GROUP BY 1, 2, 3;

INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
SELECT date_trunc('minute', expires_at, 'UTC'), webhook_type,
    coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), 0, count(*)
FROM webhook_idempotency WHERE status <> 'in_progress' GROUP BY 1, 2, 3;

CREATE FUNCTION webhook_idempotency_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.status <> 'in_progress' THEN
        INSERT INTO record_totals AS t (webhook_type, retailer_id, status, slot, records, replays)
        VALUES (OLD.webhook_type, coalesce(OLD.retailer_id, '00000000-0000-0000-0000-000000000000'), OLD.status,
            pg_backend_pid(), -1, -OLD.replay_count)
        ON CONFLICT (webhook_type, retailer_id, status, slot)
        DO UPDATE SET records = t.records + excluded.records, replays = t.replays + excluded.replays;
        INSERT INTO record_expiries AS e (minute, webhook_type, retailer_id, slot, records)
        VALUES (date_trunc('minute', OLD.expires_at, 'UTC'), OLD.webhook_type,
            coalesce(OLD.retailer_id, '00000000-0000-0000-0000-000000000000'), pg_backend_pid(), -1)
        ON CONFLICT (minute, webhook_type, retailer_id, slot) DO UPDATE SET records = e.records + excluded.records;
    END IF;
    IF NEW.status <> 'in_progress' THEN
        INSERT INTO record_totals AS t (webhook_type, retailer_id, status, slot, records, replays)
        VALUES (NEW.webhook_type, coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), NEW.status,
            pg_backend_pid(), 1, NEW.replay_count)
        ON CONFLICT (webhook_type, retailer_id, status, slot)
        DO UPDATE SET records = t.records + excluded.records, replays = t.replays + excluded.replays;
        INSERT INTO record_expiries AS e (minute, webhook_type, retailer_id, slot, records)
        VALUES (date_trunc('minute', NEW.expires_at, 'UTC'), NEW.webhook_type,
            coalesce(NEW.retailer_id, '00000000-0000-0000-0000-000000000000'), pg_backend_pid(), 1)
        ON CONFLICT (minute, webhook_type, retailer_id, slot) DO UPDATE SET records = e.records + excluded.records;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER webhook_idempotency_counted AFTER INSERT ON webhook_idempotency
FOR EACH ROW WHEN (NEW.status <> 'in_progress') EXECUTE FUNCTION webhook_idempotency_count();

-- A clean-up deletes many at a time, and they are counted together.
CREATE FUNCTION webhook_idempotency_discount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO record_totals AS t (webhook_type, retailer_id, status, slot, records, replays)
    SELECT webhook_type, coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), status, pg_backend_pid(),
        -count(*), -sum(replay_count)
    FROM gone WHERE status <> 'in_progress' GROUP BY 1, 2, 3
    ON CONFLICT (webhook_type, retailer_id, status, slot)
    DO UPDATE SET records = t.records + excluded.records, replays = t.replays + excluded.replays;
    INSERT INTO record_expiries AS e (minute, webhook_type, retailer_id, slot, records)
    SELECT date_trunc('minute', expires_at, 'UTC'), webhook_type,
        coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), pg_backend_pid(), -count(*)
    FROM gone WHERE status <> 'in_progress' GROUP BY 1, 2, 3
    ON CONFLICT (minute, webhook_type, retailer_id, slot) DO UPDATE SET records = e.records + excluded.records;
    RETURN NULL;
END $$;

CREATE TRIGGER webhook_idempotency_discounted AFTER DELETE ON webhook_idempotency
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION webhook_idempotency_discount();

CREATE TRIGGER webhook_idempotency_recounted
AFTER UPDATE OF webhook_type, retailer_id, status, expires_at, replay_count ON webhook_idempotency
FOR EACH ROW WHEN (OLD.status <> 'in_progress' OR NEW.status <> 'in_progress')
EXECUTE FUNCTION webhook_idempotency_count();

-- What a process has counted in an hour, as it stands: only that process writes its rows, and each whole.
CREATE TABLE traffic_hours (
    -- New whenever the hour of a process changes, so that a clock that is set back overwrites nothing.
    id                   UUID PRIMARY KEY,
    hour                 TIMESTAMPTZ NOT NULL,
    instance             UUID NOT NULL,
    received             BIGINT NOT NULL,
    first                BIGINT NOT NULL,
    replayed             BIGINT NOT NULL,
    duplicate_events     BIGINT NOT NULL,
    conflicts            BIGINT NOT NULL,
    mismatched           BIGINT NOT NULL,
    in_progress_rejected BIGINT NOT NULL,
    signature_rejected   BIGINT NOT NULL,
    malformed            BIGINT NOT NULL,
    failed               BIGINT NOT NULL,
    orders               BIGINT NOT NULL,
    -- Histograms of microseconds, in HdrHistogram's V2 form.
    first_latency        BYTEA NOT NULL,
    replayed_latency     BYTEA NOT NULL,
    lookup_latency       BYTEA NOT NULL
);
CREATE INDEX traffic_hours_hour ON traffic_hours (hour);

-- When something last came for a retailer, in seconds since 1970, and for how long nothing did before.
CREATE TABLE retailer_activity (
    retailer_id      UUID PRIMARY KEY,
    last_at_s        BIGINT NOT NULL,
    -- The week in which that was, counted from 1970.
    week             BIGINT NOT NULL,
    -- The longest silence that ended in it, and in the week before.
    longest_s        BIGINT NOT NULL,
    longest_before_s BIGINT NOT NULL
);

-- How much there was, hour by hour.
CREATE TABLE statistics_snapshots (
    hour        TIMESTAMPTZ PRIMARY KEY,
    taken_at    TIMESTAMPTZ NOT NULL,
    active      BIGINT NOT NULL,
    expired     BIGINT NOT NULL,
    in_progress BIGINT NOT NULL,
    completed   BIGINT NOT NULL,
    failed      BIGINT NOT NULL,
    total       BIGINT NOT NULL,
    size_bytes  BIGINT NOT NULL
);

-- The alerts that are firing, as each process sees it.
CREATE TABLE alerts (
    name     TEXT NOT NULL,
    instance UUID NOT NULL,
    since    TIMESTAMPTZ NOT NULL,
    -- Renewed while it fires: one that nobody renews is of a process that is gone.
    seen_at  TIMESTAMPTZ NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (name, instance)
);

-- What was deleted by runs that are not in cleanup_runs any more.
ALTER TABLE job_lease ADD COLUMN deleted_before BIGINT NOT NULL DEFAULT 0;

-- What became of each event of a delivery: a JSON array of objects as a batch is answered with.
ALTER TABLE webhook_idempotency ADD COLUMN events JSON;

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
