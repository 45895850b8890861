-- Keys, requests and their answers. Whose it is and which order it made are names alone: this table knows of no other.
CREATE TABLE webhook_idempotency (
    id                    UUID PRIMARY KEY NOT NULL,
    scope                 TEXT NOT NULL,
    idempotency_key       TEXT NOT NULL,
    webhook_type          TEXT NOT NULL,
    method                TEXT NOT NULL,
    path                  TEXT NOT NULL,
    fingerprint           BYTEA NOT NULL,
    status                TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'failed')),
    -- Who may complete it; NULL once that is done.
    owner_token           UUID,
    lease_expires_at      TIMESTAMPTZ NOT NULL,
    created_at            TIMESTAMPTZ NOT NULL,
    last_accessed_at      TIMESTAMPTZ NOT NULL,
    expires_at            TIMESTAMPTZ NOT NULL,
    replay_count          BIGINT NOT NULL DEFAULT 0,
    retailer_id           UUID,
    order_id              UUID,
    source_ip             TEXT,
    response_status       SMALLINT,
    response_content_type TEXT,
    -- Headers that are replayed beside the content type: an object of strings.
    response_headers      JSON,
    -- How response_body holds the body: json (as it is), text or base64 (a JSON string).
    response_encoding     TEXT,
    error_message         TEXT,
    -- Without what its events have of it, which are new with it: there is null.
    request_body          JSON,
    -- Where those parts belong: for each event the numbers of the members and items that lead there, or null.
    body_places           JSON,
    response_body         JSON,
    -- What became of each event of a delivery: an array of objects as a batch is answered with.
    events                JSON,
    -- The key comes first: it is also asked for alone, in whatever scope.
    UNIQUE (idempotency_key, scope)
);
CREATE INDEX webhook_idempotency_expires_at ON webhook_idempotency (expires_at);
-- The newest first: all, of one kind, of one retailer, and of what failed.
CREATE INDEX webhook_idempotency_created_at ON webhook_idempotency (created_at);
CREATE INDEX webhook_idempotency_webhook_type ON webhook_idempotency (webhook_type, created_at);
CREATE INDEX webhook_idempotency_retailer ON webhook_idempotency (retailer_id, created_at) WHERE retailer_id IS NOT NULL;
CREATE INDEX webhook_idempotency_failed ON webhook_idempotency (created_at) WHERE status = 'failed';
-- Few rows at any time: a delivery is claimed and completed in one transaction.
CREATE INDEX webhook_idempotency_in_progress ON webhook_idempotency (lease_expires_at) WHERE status = 'in_progress';

CREATE TABLE webhook_event (
    provider             TEXT NOT NULL,
    event_id             TEXT NOT NULL,
    kind                 TEXT NOT NULL,
    -- What was signed, so that the same id with another content is noticed.
    digest               BYTEA NOT NULL,
    -- The fingerprint of the delivery that told the event first, and its record.
    delivery_fingerprint BYTEA NOT NULL,
    delivery_id          UUID,
    outcome              TEXT NOT NULL,
    retailer_id          UUID,
    order_id             UUID,
    created_at           TIMESTAMPTZ NOT NULL,
    reply                TEXT,
    payload              JSON NOT NULL,
    -- The id comes first: those of a delivery are looked up whoever told them.
    PRIMARY KEY (event_id, provider)
);
-- Events that made an order are kept, and cost this index nothing.
CREATE INDEX webhook_event_without_order ON webhook_event (created_at) WHERE order_id IS NULL;

-- How far a message of ours has come; only ever moves to a higher rank.
CREATE TABLE message_status (
    provider   TEXT NOT NULL,
    message_id TEXT NOT NULL,
    status     TEXT NOT NULL,
    rank       INTEGER NOT NULL,
    error_code TEXT,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (provider, message_id)
);

-- Who may use the API. A key belongs to a client, so that one whose token is changed keeps its keys.
CREATE TABLE api_clients (
    id          UUID PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL,
    -- Where it is set, the client sees and touches this retailer alone.
    retailer_id UUID,
    created_at  TIMESTAMPTZ NOT NULL
);

CREATE TABLE api_tokens (
    id           UUID PRIMARY KEY NOT NULL,
    client_id    UUID NOT NULL REFERENCES api_clients (id),
    -- The token itself is nowhere.
    token_sha256 BYTEA NOT NULL UNIQUE,
    scopes       TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    revoked_at   TIMESTAMPTZ
);

-- Work that one process does at a time, of all that share the database.
CREATE TABLE job_lease (
    name           TEXT PRIMARY KEY NOT NULL,
    -- The run that is going on; NULL where none is.
    holder         UUID,
    -- Renewed while the run goes on: past it, whoever did it is gone.
    expires_at     TIMESTAMPTZ NOT NULL,
    -- The latest scheduled time that was taken, so that no other takes it again.
    last_tick      TIMESTAMPTZ,
    -- What was deleted by runs that are not in cleanup_runs any more.
    deleted_before BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE cleanup_runs (
    id              UUID PRIMARY KEY NOT NULL,
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

-- Records that come in one statement are counted together, as those that go.
CREATE FUNCTION webhook_idempotency_count_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Most that come alone are in progress.
    IF NOT EXISTS (SELECT FROM fresh WHERE status <> 'in_progress') THEN
        RETURN NULL;
    END IF;
    INSERT INTO record_totals AS t (webhook_type, retailer_id, status, slot, records, replays)
    SELECT webhook_type, coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), status, pg_backend_pid(),
        count(*), sum(replay_count)
    FROM fresh WHERE status <> 'in_progress' GROUP BY 1, 2, 3
    ON CONFLICT (webhook_type, retailer_id, status, slot)
    DO UPDATE SET records = t.records + excluded.records, replays = t.replays + excluded.replays;
    INSERT INTO record_expiries AS e (minute, webhook_type, retailer_id, slot, records)
    SELECT date_trunc('minute', expires_at, 'UTC'), webhook_type,
        coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), pg_backend_pid(), count(*)
    FROM fresh WHERE status <> 'in_progress' GROUP BY 1, 2, 3
    ON CONFLICT (minute, webhook_type, retailer_id, slot) DO UPDATE SET records = e.records + excluded.records;
    RETURN NULL;
END $$;

CREATE TRIGGER webhook_idempotency_counted AFTER INSERT ON webhook_idempotency
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION webhook_idempotency_count_new();

-- A clean-up deletes many at a time.
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

CREATE FUNCTION webhook_idempotency_recount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> 'in_progress' THEN
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

CREATE TRIGGER webhook_idempotency_recounted
AFTER UPDATE OF webhook_type, retailer_id, status, expires_at, replay_count ON webhook_idempotency
FOR EACH ROW WHEN (OLD.status <> 'in_progress' OR NEW.status <> 'in_progress')
EXECUTE FUNCTION webhook_idempotency_recount();

-- What a process has counted in an hour, as it stands: only that process writes its rows, and each whole.
CREATE TABLE traffic_hours (
    -- New whenever the hour of a process changes, so that a clock that is set back overwrites nothing.
    id                   UUID PRIMARY KEY NOT NULL,
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
    -- Edits and revokes of messages that made an order.
    edits_noted          BIGINT NOT NULL,
    revokes_noted        BIGINT NOT NULL,
    unknown_retailers    BIGINT NOT NULL,
    -- Histograms of microseconds, in HdrHistogram's V2 form.
    first_latency        BYTEA NOT NULL,
    replayed_latency     BYTEA NOT NULL,
    lookup_latency       BYTEA NOT NULL
);
CREATE INDEX traffic_hours_hour ON traffic_hours (hour);

-- When something last came for a retailer, in seconds since 1970, and for how long nothing did before.
CREATE TABLE retailer_activity (
    retailer_id      UUID PRIMARY KEY NOT NULL,
    last_at_s        BIGINT NOT NULL,
    -- The week in which that was, counted from 1970.
    week             BIGINT NOT NULL,
    -- The longest silence that ended in it, and in the week before.
    longest_s        BIGINT NOT NULL,
    longest_before_s BIGINT NOT NULL
);

-- How much there was, hour by hour.
CREATE TABLE statistics_snapshots (
    hour        TIMESTAMPTZ PRIMARY KEY NOT NULL,
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

-- Tells this database from all others, so that answers kept beside it, in a cache that several databases may share, are
-- never taken for those of another, nor for those of an earlier one of its name.
CREATE TABLE installation (
    id TEXT PRIMARY KEY NOT NULL
);
INSERT INTO installation (id) VALUES (replace(gen_random_uuid()::text, '-', ''));

-- Written to see whether writes are made durable. What is in it means nothing.
CREATE TABLE write_probe (
    filling TEXT NOT NULL
);

-- For people: hashes as text, and what matters first. SQLite has the same.
CREATE VIEW v_deliveries AS
SELECT
    id,
    created_at,
    scope,
    idempotency_key,
    webhook_type,
    status,
    response_status,
    order_id,
    retailer_id,
    replay_count,
    last_accessed_at,
    expires_at,
    lease_expires_at,
    owner_token,
    method,
    path,
    encode(fingerprint, 'hex') AS fingerprint,
    source_ip,
    error_message,
    response_content_type,
    response_headers,
    response_encoding,
    response_body,
    request_body,
    body_places,
    events
FROM webhook_idempotency;

CREATE VIEW v_events AS
SELECT
    created_at,
    provider,
    event_id,
    kind,
    outcome,
    order_id,
    retailer_id,
    delivery_id,
    encode(digest, 'hex') AS digest,
    encode(delivery_fingerprint, 'hex') AS delivery_fingerprint,
    reply,
    payload
FROM webhook_event;

CREATE VIEW v_message_statuses AS
SELECT
    updated_at,
    provider,
    message_id,
    status,
    rank,
    error_code
FROM message_status;

CREATE VIEW v_clients AS
SELECT
    id,
    created_at,
    name,
    retailer_id
FROM api_clients;

CREATE VIEW v_tokens AS
SELECT
    id,
    client_id,
    created_at,
    revoked_at,
    scopes,
    encode(token_sha256, 'hex') AS token_sha256
FROM api_tokens;

CREATE VIEW v_cleanup_runs AS
SELECT
    id,
    started_at,
    finished_at,
    trigger,
    tick,
    instance,
    deleted_records,
    deleted_events,
    released,
    remaining,
    error
FROM cleanup_runs;

CREATE VIEW v_job_leases AS
SELECT
    name,
    holder,
    expires_at,
    last_tick,
    deleted_before
FROM job_lease;

CREATE VIEW v_record_totals AS
SELECT
    webhook_type,
    retailer_id,
    status,
    slot,
    records,
    replays
FROM record_totals;

CREATE VIEW v_record_expiries AS
SELECT
    minute,
    webhook_type,
    retailer_id,
    slot,
    records
FROM record_expiries;

CREATE VIEW v_traffic_hours AS
SELECT
    id,
    hour,
    instance,
    received,
    first,
    replayed,
    duplicate_events,
    conflicts,
    mismatched,
    in_progress_rejected,
    signature_rejected,
    malformed,
    failed,
    orders,
    edits_noted,
    revokes_noted,
    unknown_retailers
FROM traffic_hours;

CREATE VIEW v_snapshots AS
SELECT
    hour,
    taken_at,
    active,
    expired,
    in_progress,
    completed,
    failed,
    total,
    size_bytes
FROM statistics_snapshots;

CREATE VIEW v_alerts AS
SELECT
    name,
    instance,
    since,
    seen_at,
    detail
FROM alerts;
