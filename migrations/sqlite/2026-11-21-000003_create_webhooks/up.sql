CREATE TABLE webhook_event (
    provider             TEXT NOT NULL,
    event_id             TEXT NOT NULL,
    kind                 TEXT NOT NULL,
    -- What was signed, so that the same id with another content is noticed.
    digest               TEXT NOT NULL,
    -- The fingerprint of the delivery that told the event first, and its record.
    delivery_fingerprint TEXT NOT NULL,
    delivery_id          TEXT,
    outcome              TEXT NOT NULL,
    retailer_id          TEXT REFERENCES retailers (id),
    -- No foreign key: the event is claimed before its order is written, in one transaction.
    order_id             TEXT,
    reply                TEXT,
    payload              TEXT NOT NULL,
    created_at           TEXT NOT NULL,
    PRIMARY KEY (provider, event_id)
) STRICT;

-- How far a message of ours has come; only ever moves to a higher rank.
CREATE TABLE message_status (
    provider   TEXT NOT NULL,
    message_id TEXT NOT NULL,
    status     TEXT NOT NULL,
    rank       INTEGER NOT NULL,
    error_code TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (provider, message_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_idempotency (
    id                    TEXT PRIMARY KEY NOT NULL,
    scope                 TEXT NOT NULL,
    idempotency_key       TEXT NOT NULL,
    webhook_type          TEXT NOT NULL,
    method                TEXT NOT NULL,
    path                  TEXT NOT NULL,
    fingerprint           TEXT NOT NULL,
    status                TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'failed')),
    request_body          TEXT,
    response_status       INTEGER,
    response_content_type TEXT,
    response_body         TEXT,
    error_message         TEXT,
    owner_token           TEXT NOT NULL,
    lease_expires_at      TEXT NOT NULL,
    source_ip             TEXT,
    retailer_id           TEXT REFERENCES retailers (id),
    order_id              TEXT REFERENCES orders (id),
    replay_count          INTEGER NOT NULL DEFAULT 0,
    created_at            TEXT NOT NULL,
    last_accessed_at      TEXT NOT NULL,
    expires_at            TEXT NOT NULL,
    UNIQUE (scope, idempotency_key)
) STRICT;

CREATE INDEX webhook_idempotency_key_expires_at ON webhook_idempotency (idempotency_key, expires_at);
CREATE INDEX webhook_idempotency_expires_at ON webhook_idempotency (expires_at);
CREATE INDEX webhook_idempotency_webhook_type ON webhook_idempotency (webhook_type);
CREATE INDEX webhook_idempotency_created_at ON webhook_idempotency (created_at);
