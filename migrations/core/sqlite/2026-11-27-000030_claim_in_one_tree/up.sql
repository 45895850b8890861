-- Ids come in no order: each index of them is a page to change with every order, and most of what a large database writes.
-- So there is one tree for all that is claimed, in which the claims of one id lie beside each other.
CREATE TABLE webhook_claim (
    id    TEXT NOT NULL,
    -- 0: the key of a request; 1: an event; 2: a message that made an order.
    kind  INTEGER NOT NULL,
    -- The scope of the key, the provider of the event, the source of the message.
    owner TEXT NOT NULL,
    -- The row of webhook_idempotency, webhook_event or orders.
    row   INTEGER NOT NULL,
    PRIMARY KEY (id, kind, owner)
) STRICT, WITHOUT ROWID;

-- The tables are made anew without those indexes.
DROP VIEW v_deliveries;
DROP VIEW v_events;

-- Keys, requests and their answers. Whose it is and which order it made are names alone: this table knows of no other.
CREATE TABLE webhook_idempotency_2 (
    -- SQLite's own number of the row, by which it is claimed: named, so that VACUUM leaves it as it is.
    rowid                 INTEGER PRIMARY KEY,
    id                    BLOB NOT NULL UNIQUE,
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
    events                TEXT
) STRICT;

INSERT INTO webhook_idempotency_2 (rowid, id, scope, idempotency_key, webhook_type, method, path, fingerprint, status, owner_token,
    lease_expires_at, created_at, last_accessed_at, expires_at, replay_count, retailer_id, order_id,
    source_ip, response_status, response_content_type, response_headers, response_encoding,
    error_message, request_body, body_places, response_body, events)
SELECT rowid, id, scope, idempotency_key, webhook_type, method, path, fingerprint, status, owner_token,
    lease_expires_at, created_at, last_accessed_at, expires_at, replay_count, retailer_id, order_id,
    source_ip, response_status, response_content_type, response_headers, response_encoding,
    error_message, request_body, body_places, response_body, events
FROM webhook_idempotency ORDER BY rowid;

-- As their old indexes have them: in their order.
INSERT INTO webhook_claim (id, kind, owner, row)
SELECT idempotency_key, 0, scope, rowid FROM webhook_idempotency ORDER BY idempotency_key, scope;
DROP TABLE webhook_idempotency;
ALTER TABLE webhook_idempotency_2 RENAME TO webhook_idempotency;
CREATE INDEX webhook_idempotency_expires_at ON webhook_idempotency (expires_at);
-- The newest first: all, of one kind, of one retailer, and of what failed.
CREATE INDEX webhook_idempotency_created_at ON webhook_idempotency (created_at);
CREATE INDEX webhook_idempotency_webhook_type ON webhook_idempotency (webhook_type, created_at);
CREATE INDEX webhook_idempotency_retailer ON webhook_idempotency (retailer_id, created_at) WHERE retailer_id IS NOT NULL;
CREATE INDEX webhook_idempotency_failed ON webhook_idempotency (created_at) WHERE status = 'failed';
-- Few rows at any time: a delivery is claimed and completed in one transaction.
CREATE INDEX webhook_idempotency_in_progress ON webhook_idempotency (lease_expires_at) WHERE status = 'in_progress';

CREATE TABLE webhook_event_2 (
    -- SQLite's own number of the row, by which it is claimed: named, so that VACUUM leaves it as it is.
    rowid                INTEGER PRIMARY KEY,
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
    -- Whether it is kept for ever though it made no order.
    lasting              INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO webhook_event_2 (rowid, provider, event_id, kind, digest, delivery_fingerprint, delivery_id, outcome, retailer_id,
    order_id, created_at, reply, payload, lasting)
SELECT rowid, provider, event_id, kind, digest, delivery_fingerprint, delivery_id, outcome, retailer_id,
    order_id, created_at, reply, payload, lasting
FROM webhook_event ORDER BY rowid;

INSERT INTO webhook_claim (id, kind, owner, row)
SELECT event_id, 1, provider, rowid FROM webhook_event ORDER BY event_id, provider;
DROP TABLE webhook_event;
ALTER TABLE webhook_event_2 RENAME TO webhook_event;
-- Those that are kept cost this index nothing.
CREATE INDEX webhook_event_passing ON webhook_event (created_at) WHERE order_id IS NULL AND lasting = 0;

-- A claim stands and falls with its row: where it is taken, nothing is inserted.
CREATE TRIGGER webhook_idempotency_claim_taken BEFORE INSERT ON webhook_idempotency
BEGIN
    SELECT RAISE(IGNORE) WHERE EXISTS (
        SELECT 1 FROM webhook_claim WHERE id = NEW.idempotency_key AND kind = 0 AND owner = NEW.scope);
END;

CREATE TRIGGER webhook_idempotency_claimed AFTER INSERT ON webhook_idempotency
BEGIN
    INSERT INTO webhook_claim (id, kind, owner, row) VALUES (NEW.idempotency_key, 0, NEW.scope, NEW.rowid);
END;

CREATE TRIGGER webhook_idempotency_claim_changed AFTER UPDATE OF scope, idempotency_key ON webhook_idempotency
BEGIN
    DELETE FROM webhook_claim WHERE id = OLD.idempotency_key AND kind = 0 AND owner = OLD.scope;
    INSERT INTO webhook_claim (id, kind, owner, row) VALUES (NEW.idempotency_key, 0, NEW.scope, NEW.rowid);
END;

CREATE TRIGGER webhook_idempotency_claim_freed AFTER DELETE ON webhook_idempotency
BEGIN
    DELETE FROM webhook_claim WHERE id = OLD.idempotency_key AND kind = 0 AND owner = OLD.scope AND row = OLD.rowid;
END;

CREATE TRIGGER webhook_event_claim_taken BEFORE INSERT ON webhook_event
BEGIN
    SELECT RAISE(IGNORE) WHERE EXISTS (
        SELECT 1 FROM webhook_claim WHERE id = NEW.event_id AND kind = 1 AND owner = NEW.provider);
END;

CREATE TRIGGER webhook_event_claimed AFTER INSERT ON webhook_event
BEGIN
    INSERT INTO webhook_claim (id, kind, owner, row) VALUES (NEW.event_id, 1, NEW.provider, NEW.rowid);
END;

CREATE TRIGGER webhook_event_claim_changed AFTER UPDATE OF provider, event_id ON webhook_event
BEGIN
    DELETE FROM webhook_claim WHERE id = OLD.event_id AND kind = 1 AND owner = OLD.provider;
    INSERT INTO webhook_claim (id, kind, owner, row) VALUES (NEW.event_id, 1, NEW.provider, NEW.rowid);
END;

CREATE TRIGGER webhook_event_claim_freed AFTER DELETE ON webhook_event
BEGIN
    DELETE FROM webhook_claim WHERE id = OLD.event_id AND kind = 1 AND owner = OLD.provider AND row = OLD.rowid;
END;

-- As before.
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

CREATE VIEW v_events AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    provider,
    event_id,
    kind,
    outcome,
    CASE WHEN order_id IS NOT NULL THEN lower(substr(hex(order_id), 1, 8) || '-' || substr(hex(order_id), 9, 4) || '-' || substr(hex(order_id), 13, 4) || '-' || substr(hex(order_id), 17, 4) || '-' || substr(hex(order_id), 21, 12)) END AS order_id,
    lasting,
    CASE WHEN retailer_id IS NOT NULL THEN lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) END AS retailer_id,
    CASE WHEN delivery_id IS NOT NULL THEN lower(substr(hex(delivery_id), 1, 8) || '-' || substr(hex(delivery_id), 9, 4) || '-' || substr(hex(delivery_id), 13, 4) || '-' || substr(hex(delivery_id), 17, 4) || '-' || substr(hex(delivery_id), 21, 12)) END AS delivery_id,
    lower(hex(digest)) AS digest,
    lower(hex(delivery_fingerprint)) AS delivery_fingerprint,
    reply,
    payload
FROM webhook_event;

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
    CASE WHEN status = 'in_progress' THEN strftime('%Y-%m-%dT%H:%M:%S', lease_expires_at / 1000000, 'unixepoch') || printf('.%06dZ', lease_expires_at % 1000000) END AS lease_expires_at,
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
