CREATE TABLE webhook_event (
    provider             TEXT NOT NULL,
    event_id             TEXT NOT NULL,
    kind                 TEXT NOT NULL,
    -- What was signed, so that the same id with another content is noticed.
    digest               TEXT NOT NULL,
    -- The fingerprint of the delivery that told the event first, and its record.
    delivery_fingerprint TEXT NOT NULL,
    delivery_id          UUID,
    outcome              TEXT NOT NULL,
    retailer_id          UUID REFERENCES retailers (id),
    -- No foreign key: the event is claimed before its order is written, in one transaction.
    order_id             UUID,
    reply                TEXT,
    payload              JSON NOT NULL,
    created_at           TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (provider, event_id)
);

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

CREATE TABLE webhook_idempotency (
    id                    UUID PRIMARY KEY,
    scope                 TEXT NOT NULL,
    idempotency_key       TEXT NOT NULL,
    webhook_type          TEXT NOT NULL,
    method                TEXT NOT NULL,
    path                  TEXT NOT NULL,
    fingerprint           TEXT NOT NULL,
    status                TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'failed')),
    request_body          JSON,
    response_status       SMALLINT,
    response_content_type TEXT,
    response_body         JSON,
    error_message         TEXT,
    owner_token           UUID NOT NULL,
    lease_expires_at      TIMESTAMPTZ NOT NULL,
    source_ip             TEXT,
    retailer_id           UUID REFERENCES retailers (id),
    order_id              UUID REFERENCES orders (id),
    replay_count          BIGINT NOT NULL DEFAULT 0,
    created_at            TIMESTAMPTZ NOT NULL,
    last_accessed_at      TIMESTAMPTZ NOT NULL,
    expires_at            TIMESTAMPTZ NOT NULL,
    UNIQUE (scope, idempotency_key)
);

CREATE INDEX webhook_idempotency_key_expires_at ON webhook_idempotency (idempotency_key, expires_at);
CREATE INDEX webhook_idempotency_expires_at ON webhook_idempotency (expires_at);
CREATE INDEX webhook_idempotency_webhook_type ON webhook_idempotency (webhook_type);
CREATE INDEX webhook_idempotency_created_at ON webhook_idempotency (created_at);
