-- Keys, requests and their answers. Whose it is and which order it made are names alone: this table knows of no other.
CREATE TABLE webhook_idempotency (
    id                    BLOB PRIMARY KEY NOT NULL,
    scope                 TEXT NOT NULL,
    idempotency_key       TEXT NOT NULL,
    webhook_type          TEXT NOT NULL,
    method                TEXT NOT NULL,
    path                  TEXT NOT NULL,
    fingerprint           BLOB NOT NULL,
    status                TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'failed')),
    -- Who may complete it; NULL once that is done.
    owner_token           BLOB,
    lease_expires_at      INTEGER NOT NULL,
    created_at            INTEGER NOT NULL,
    last_accessed_at      INTEGER NOT NULL,
    expires_at            INTEGER NOT NULL,
    replay_count          INTEGER NOT NULL DEFAULT 0,
    retailer_id           BLOB,
    order_id              BLOB,
    source_ip             TEXT,
    response_status       INTEGER,
    response_content_type TEXT,
    -- Headers that are replayed beside the content type: an object of strings.
    response_headers      TEXT,
    -- How response_body holds the body: json (as it is), text or base64 (a JSON string).
    response_encoding     TEXT,
    error_message         TEXT,
    -- Without what its events have of it, which are new with it: there is null.
    request_body          TEXT,
    -- Where those parts belong: for each event the numbers of the members and items that lead there, or null.
    body_places           TEXT,
    response_body         TEXT,
    -- What became of each event of a delivery: an array of objects as a batch is answered with.
    events                TEXT,
    -- The key comes first: it is also asked for alone, in whatever scope.
    UNIQUE (idempotency_key, scope)
) STRICT;
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
    digest               BLOB NOT NULL,
    -- The fingerprint of the delivery that told the event first, and its record.
    delivery_fingerprint BLOB NOT NULL,
    delivery_id          BLOB,
    outcome              TEXT NOT NULL,
    retailer_id          BLOB,
    order_id             BLOB,
    created_at           INTEGER NOT NULL,
    reply                TEXT,
    payload              TEXT NOT NULL,
    -- The id comes first: those of a delivery are looked up whoever told them.
    PRIMARY KEY (event_id, provider)
) STRICT;
-- Events that made an order are kept, and cost this index nothing.
CREATE INDEX webhook_event_without_order ON webhook_event (created_at) WHERE order_id IS NULL;

-- How far a message of ours has come; only ever moves to a higher rank.
CREATE TABLE message_status (
    provider   TEXT NOT NULL,
    message_id TEXT NOT NULL,
    status     TEXT NOT NULL,
    rank       INTEGER NOT NULL,
    error_code TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (provider, message_id)
) STRICT, WITHOUT ROWID;

-- Who may use the API. A key belongs to a client, so that one whose token is changed keeps its keys.
CREATE TABLE api_clients (
    id          BLOB PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL,
    -- Where it is set, the client sees and touches this retailer alone.
    retailer_id BLOB,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE api_tokens (
    id           BLOB PRIMARY KEY NOT NULL,
    client_id    BLOB NOT NULL REFERENCES api_clients (id),
    -- The token itself is nowhere.
    token_sha256 BLOB NOT NULL UNIQUE,
    scopes       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER
) STRICT;

-- Work that one process does at a time, of all that share the database.
CREATE TABLE job_lease (
    name           TEXT PRIMARY KEY NOT NULL,
    -- The run that is going on; NULL where none is.
    holder         BLOB,
    -- Renewed while the run goes on: past it, whoever did it is gone.
    expires_at     INTEGER NOT NULL,
    -- The latest scheduled time that was taken, so that no other takes it again.
    last_tick      INTEGER,
    -- What was deleted by runs that are not in cleanup_runs any more.
    deleted_before INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE cleanup_runs (
    id              BLOB PRIMARY KEY NOT NULL,
    -- The process that did it.
    instance        BLOB NOT NULL,
    trigger         TEXT NOT NULL,
    -- The scheduled time that it answers.
    tick            INTEGER UNIQUE,
    started_at      INTEGER NOT NULL,
    -- NULL while it goes on.
    finished_at     INTEGER,
    deleted_records INTEGER NOT NULL DEFAULT 0,
    deleted_events  INTEGER NOT NULL DEFAULT 0,
    released        INTEGER NOT NULL DEFAULT 0,
    -- Expired, and still there at the end.
    remaining       INTEGER,
    error           TEXT
) STRICT;

-- How many records there are, kept by triggers in the very transactions that change them, so that nobody has to scan.
-- Of records that are settled only: those in progress are few, and counted by their own index.
CREATE TABLE record_totals (
    webhook_type TEXT NOT NULL,
    -- All zeroes where there is none.
    retailer_id  BLOB NOT NULL,
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
    minute       INTEGER NOT NULL,
    webhook_type TEXT NOT NULL,
    retailer_id  BLOB NOT NULL,
    slot         INTEGER NOT NULL,
    records      INTEGER NOT NULL,
    PRIMARY KEY (minute, webhook_type, retailer_id, slot)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER webhook_idempotency_counted AFTER INSERT ON webhook_idempotency
WHEN NEW.status <> 'in_progress'
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (NEW.webhook_type, coalesce(NEW.retailer_id, zeroblob(16)), NEW.status, 0, 1, NEW.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (NEW.expires_at - NEW.expires_at % 60000000, NEW.webhook_type, coalesce(NEW.retailer_id, zeroblob(16)), 0, 1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

CREATE TRIGGER webhook_idempotency_discounted AFTER DELETE ON webhook_idempotency
WHEN OLD.status <> 'in_progress'
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (OLD.webhook_type, coalesce(OLD.retailer_id, zeroblob(16)), OLD.status, 0, -1, -OLD.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (OLD.expires_at - OLD.expires_at % 60000000, OLD.webhook_type, coalesce(OLD.retailer_id, zeroblob(16)), 0, -1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

CREATE TRIGGER webhook_idempotency_settled
AFTER UPDATE OF webhook_type, retailer_id, status, expires_at ON webhook_idempotency
WHEN OLD.status = 'in_progress' AND NEW.status <> 'in_progress'
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (NEW.webhook_type, coalesce(NEW.retailer_id, zeroblob(16)), NEW.status, 0, 1, NEW.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (NEW.expires_at - NEW.expires_at % 60000000, NEW.webhook_type, coalesce(NEW.retailer_id, zeroblob(16)), 0, 1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

CREATE TRIGGER webhook_idempotency_recounted
AFTER UPDATE OF webhook_type, retailer_id, status, expires_at ON webhook_idempotency
WHEN OLD.status <> 'in_progress'
    AND NOT (NEW.status = OLD.status AND NEW.webhook_type = OLD.webhook_type
        AND NEW.retailer_id IS OLD.retailer_id AND NEW.expires_at = OLD.expires_at)
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (OLD.webhook_type, coalesce(OLD.retailer_id, zeroblob(16)), OLD.status, 0, -1, -OLD.replay_count)
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    VALUES (OLD.expires_at - OLD.expires_at % 60000000, OLD.webhook_type, coalesce(OLD.retailer_id, zeroblob(16)), 0, -1)
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    SELECT NEW.webhook_type, coalesce(NEW.retailer_id, zeroblob(16)), NEW.status, 0, 1, NEW.replay_count
    WHERE NEW.status <> 'in_progress'
    ON CONFLICT DO UPDATE SET records = records + excluded.records, replays = replays + excluded.replays;
    INSERT INTO record_expiries (minute, webhook_type, retailer_id, slot, records)
    SELECT NEW.expires_at - NEW.expires_at % 60000000, NEW.webhook_type, coalesce(NEW.retailer_id, zeroblob(16)), 0, 1
    WHERE NEW.status <> 'in_progress'
    ON CONFLICT DO UPDATE SET records = records + excluded.records;
END;

-- What changes the replays alone; all else is recounted above.
CREATE TRIGGER webhook_idempotency_replayed AFTER UPDATE OF replay_count ON webhook_idempotency
WHEN NEW.status = OLD.status AND NEW.status <> 'in_progress' AND NEW.replay_count <> OLD.replay_count
    AND NEW.webhook_type = OLD.webhook_type AND NEW.retailer_id IS OLD.retailer_id AND NEW.expires_at = OLD.expires_at
BEGIN
    INSERT INTO record_totals (webhook_type, retailer_id, status, slot, records, replays)
    VALUES (NEW.webhook_type, coalesce(NEW.retailer_id, zeroblob(16)), NEW.status, 0,
        0, NEW.replay_count - OLD.replay_count)
    ON CONFLICT DO UPDATE SET replays = replays + excluded.replays;
END;

-- What a process has counted in an hour, as it stands: only that process writes its rows, and each whole.
CREATE TABLE traffic_hours (
    -- New whenever the hour of a process changes, so that a clock that is set back overwrites nothing.
    id                   BLOB PRIMARY KEY NOT NULL,
    hour                 INTEGER NOT NULL,
    instance             BLOB NOT NULL,
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
    -- Edits and revokes of messages that made an order.
    edits_noted          INTEGER NOT NULL,
    revokes_noted        INTEGER NOT NULL,
    unknown_retailers    INTEGER NOT NULL,
    -- Histograms of microseconds, in HdrHistogram's V2 form.
    first_latency        BLOB NOT NULL,
    replayed_latency     BLOB NOT NULL,
    lookup_latency       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_hours_hour ON traffic_hours (hour);

-- When something last came for a retailer, in seconds since 1970, and for how long nothing did before.
CREATE TABLE retailer_activity (
    retailer_id      BLOB PRIMARY KEY NOT NULL,
    last_at_s        INTEGER NOT NULL,
    -- The week in which that was, counted from 1970.
    week             INTEGER NOT NULL,
    -- The longest silence that ended in it, and in the week before.
    longest_s        INTEGER NOT NULL,
    longest_before_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How much there was, hour by hour.
CREATE TABLE statistics_snapshots (
    hour        INTEGER PRIMARY KEY NOT NULL,
    taken_at    INTEGER NOT NULL,
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
    instance BLOB NOT NULL,
    since    INTEGER NOT NULL,
    -- Renewed while it fires: one that nobody renews is of a process that is gone.
    seen_at  INTEGER NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (name, instance)
) STRICT, WITHOUT ROWID;

-- Tells this database from all others, so that answers kept beside it, in a cache that several databases may share, are
-- never taken for those of another, nor for those of an earlier one of its name.
CREATE TABLE installation (
    id TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO installation (id) VALUES (lower(hex(randomblob(16))));

-- Written to see whether writes are made durable. What is in it means nothing.
CREATE TABLE write_probe (
    filling TEXT NOT NULL
) STRICT;

-- For people: identifiers, times and hashes as text.
CREATE VIEW v_deliveries AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12)) AS id,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    scope,
    idempotency_key,
    webhook_type,
    status,
    response_status,
    CASE WHEN order_id IS NOT NULL THEN lower(substr(hex(order_id), 1, 8) || '-' || substr(hex(order_id), 9, 4) || '-' || substr(hex(order_id), 13, 4) || '-' || substr(hex(order_id), 17, 4) || '-' || substr(hex(order_id), 21, 12)) END AS order_id,
    CASE WHEN retailer_id IS NOT NULL THEN lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) END AS retailer_id,
    replay_count,
    strftime('%Y-%m-%dT%H:%M:%S', last_accessed_at / 1000000, 'unixepoch') || printf('.%06dZ', last_accessed_at % 1000000) AS last_accessed_at,
    strftime('%Y-%m-%dT%H:%M:%S', expires_at / 1000000, 'unixepoch') || printf('.%06dZ', expires_at % 1000000) AS expires_at,
    strftime('%Y-%m-%dT%H:%M:%S', lease_expires_at / 1000000, 'unixepoch') || printf('.%06dZ', lease_expires_at % 1000000) AS lease_expires_at,
    CASE WHEN owner_token IS NOT NULL THEN lower(substr(hex(owner_token), 1, 8) || '-' || substr(hex(owner_token), 9, 4) || '-' || substr(hex(owner_token), 13, 4) || '-' || substr(hex(owner_token), 17, 4) || '-' || substr(hex(owner_token), 21, 12)) END AS owner_token,
    method,
    path,
    lower(hex(fingerprint)) AS fingerprint,
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
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    provider,
    event_id,
    kind,
    outcome,
    CASE WHEN order_id IS NOT NULL THEN lower(substr(hex(order_id), 1, 8) || '-' || substr(hex(order_id), 9, 4) || '-' || substr(hex(order_id), 13, 4) || '-' || substr(hex(order_id), 17, 4) || '-' || substr(hex(order_id), 21, 12)) END AS order_id,
    CASE WHEN retailer_id IS NOT NULL THEN lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) END AS retailer_id,
    CASE WHEN delivery_id IS NOT NULL THEN lower(substr(hex(delivery_id), 1, 8) || '-' || substr(hex(delivery_id), 9, 4) || '-' || substr(hex(delivery_id), 13, 4) || '-' || substr(hex(delivery_id), 17, 4) || '-' || substr(hex(delivery_id), 21, 12)) END AS delivery_id,
    lower(hex(digest)) AS digest,
    lower(hex(delivery_fingerprint)) AS delivery_fingerprint,
    reply,
    payload
FROM webhook_event;

CREATE VIEW v_message_statuses AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%S', updated_at / 1000000, 'unixepoch') || printf('.%06dZ', updated_at % 1000000) AS updated_at,
    provider,
    message_id,
    status,
    rank,
    error_code
FROM message_status;

CREATE VIEW v_clients AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12)) AS id,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    name,
    CASE WHEN retailer_id IS NOT NULL THEN lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) END AS retailer_id
FROM api_clients;

CREATE VIEW v_tokens AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12)) AS id,
    lower(substr(hex(client_id), 1, 8) || '-' || substr(hex(client_id), 9, 4) || '-' || substr(hex(client_id), 13, 4) || '-' || substr(hex(client_id), 17, 4) || '-' || substr(hex(client_id), 21, 12)) AS client_id,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', revoked_at / 1000000, 'unixepoch') || printf('.%06dZ', revoked_at % 1000000) AS revoked_at,
    scopes,
    lower(hex(token_sha256)) AS token_sha256
FROM api_tokens;

CREATE VIEW v_cleanup_runs AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12)) AS id,
    strftime('%Y-%m-%dT%H:%M:%S', started_at / 1000000, 'unixepoch') || printf('.%06dZ', started_at % 1000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', finished_at / 1000000, 'unixepoch') || printf('.%06dZ', finished_at % 1000000) AS finished_at,
    trigger,
    strftime('%Y-%m-%dT%H:%M:%S', tick / 1000000, 'unixepoch') || printf('.%06dZ', tick % 1000000) AS tick,
    lower(substr(hex(instance), 1, 8) || '-' || substr(hex(instance), 9, 4) || '-' || substr(hex(instance), 13, 4) || '-' || substr(hex(instance), 17, 4) || '-' || substr(hex(instance), 21, 12)) AS instance,
    deleted_records,
    deleted_events,
    released,
    remaining,
    error
FROM cleanup_runs;

CREATE VIEW v_job_leases AS
SELECT
    name,
    CASE WHEN holder IS NOT NULL THEN lower(substr(hex(holder), 1, 8) || '-' || substr(hex(holder), 9, 4) || '-' || substr(hex(holder), 13, 4) || '-' || substr(hex(holder), 17, 4) || '-' || substr(hex(holder), 21, 12)) END AS holder,
    strftime('%Y-%m-%dT%H:%M:%S', expires_at / 1000000, 'unixepoch') || printf('.%06dZ', expires_at % 1000000) AS expires_at,
    strftime('%Y-%m-%dT%H:%M:%S', last_tick / 1000000, 'unixepoch') || printf('.%06dZ', last_tick % 1000000) AS last_tick,
    deleted_before
FROM job_lease;

CREATE VIEW v_record_totals AS
SELECT
    webhook_type,
    lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) AS retailer_id,
    status,
    slot,
    records,
    replays
FROM record_totals;

CREATE VIEW v_record_expiries AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%S', minute / 1000000, 'unixepoch') || printf('.%06dZ', minute % 1000000) AS minute,
    webhook_type,
    lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) AS retailer_id,
    slot,
    records
FROM record_expiries;

CREATE VIEW v_traffic_hours AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12)) AS id,
    strftime('%Y-%m-%dT%H:%M:%S', hour / 1000000, 'unixepoch') || printf('.%06dZ', hour % 1000000) AS hour,
    lower(substr(hex(instance), 1, 8) || '-' || substr(hex(instance), 9, 4) || '-' || substr(hex(instance), 13, 4) || '-' || substr(hex(instance), 17, 4) || '-' || substr(hex(instance), 21, 12)) AS instance,
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
    strftime('%Y-%m-%dT%H:%M:%S', hour / 1000000, 'unixepoch') || printf('.%06dZ', hour % 1000000) AS hour,
    strftime('%Y-%m-%dT%H:%M:%S', taken_at / 1000000, 'unixepoch') || printf('.%06dZ', taken_at % 1000000) AS taken_at,
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
    lower(substr(hex(instance), 1, 8) || '-' || substr(hex(instance), 9, 4) || '-' || substr(hex(instance), 13, 4) || '-' || substr(hex(instance), 17, 4) || '-' || substr(hex(instance), 21, 12)) AS instance,
    strftime('%Y-%m-%dT%H:%M:%S', since / 1000000, 'unixepoch') || printf('.%06dZ', since % 1000000) AS since,
    strftime('%Y-%m-%dT%H:%M:%S', seen_at / 1000000, 'unixepoch') || printf('.%06dZ', seen_at % 1000000) AS seen_at,
    detail
FROM alerts;
