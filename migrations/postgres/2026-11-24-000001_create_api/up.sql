-- Who may use the API. A key belongs to a client, so that one whose token is changed keeps its keys.
CREATE TABLE api_clients (
    id          UUID PRIMARY KEY,
    name        TEXT NOT NULL,
    -- Where it is set, the client sees and touches this retailer alone.
    retailer_id UUID REFERENCES retailers (id),
    created_at  TIMESTAMPTZ NOT NULL
);

CREATE TABLE api_tokens (
    id           UUID PRIMARY KEY,
    client_id    UUID NOT NULL REFERENCES api_clients (id),
    -- The token itself is nowhere.
    token_sha256 TEXT NOT NULL UNIQUE,
    scopes       TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    revoked_at   TIMESTAMPTZ
);

-- Raised and lowered in the transaction of each payment and refund: never more than is owed, whoever pays at once.
ALTER TABLE orders ADD COLUMN paid_minor BIGINT NOT NULL DEFAULT 0 CHECK (paid_minor BETWEEN 0 AND total_minor);
-- Work made to measure, instead of items.
ALTER TABLE orders ADD COLUMN service_type TEXT;
ALTER TABLE orders ADD COLUMN description TEXT;
CREATE INDEX orders_of_retailer ON orders (retailer_id, id);

CREATE TABLE payments (
    id             UUID PRIMARY KEY,
    order_id       UUID NOT NULL REFERENCES orders (id),
    retailer_id    UUID NOT NULL REFERENCES retailers (id),
    amount_minor   BIGINT NOT NULL CHECK (amount_minor > 0),
    currency       TEXT NOT NULL,
    method         TEXT NOT NULL,
    refunded_minor BIGINT NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    created_at     TIMESTAMPTZ NOT NULL
);
CREATE INDEX payments_of_order ON payments (order_id);

CREATE TABLE refunds (
    id           UUID PRIMARY KEY,
    payment_id   UUID NOT NULL REFERENCES payments (id),
    order_id     UUID NOT NULL REFERENCES orders (id),
    retailer_id  UUID NOT NULL REFERENCES retailers (id),
    amount_minor BIGINT NOT NULL CHECK (amount_minor > 0),
    currency     TEXT NOT NULL,
    reason       TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX refunds_of_payment ON refunds (payment_id);

CREATE TABLE bookings (
    id            UUID PRIMARY KEY,
    retailer_id   UUID NOT NULL REFERENCES retailers (id),
    service       TEXT NOT NULL,
    customer_name TEXT NOT NULL,
    -- As the shop's own calendar and clock have it: YYYY-MM-DD and HH:MM.
    date          TEXT NOT NULL,
    time          TEXT NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL
);

-- No foreign keys: SQLite could not take these columns away again.
ALTER TABLE ledger_entries ADD COLUMN payment_id UUID;
ALTER TABLE ledger_entries ADD COLUMN refund_id UUID;
CREATE INDEX ledger_entries_of_retailer ON ledger_entries (retailer_id);
-- Each of these is entered once, whatever the code above believes.
CREATE UNIQUE INDEX ledger_entries_one_cancellation ON ledger_entries (order_id) WHERE kind = 'cancellation';
CREATE UNIQUE INDEX ledger_entries_one_per_payment ON ledger_entries (payment_id) WHERE payment_id IS NOT NULL;
CREATE UNIQUE INDEX ledger_entries_one_per_refund ON ledger_entries (refund_id) WHERE refund_id IS NOT NULL;

-- Headers that are replayed beside the content type: a JSON object of strings.
ALTER TABLE webhook_idempotency ADD COLUMN response_headers JSON;
-- How response_body holds the body: json (as it is), text or base64 (a JSON string). NULL: by the content type.
ALTER TABLE webhook_idempotency ADD COLUMN response_encoding TEXT;
