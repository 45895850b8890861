DROP VIEW v_orders;

CREATE TABLE orders_2 (
    id               BLOB PRIMARY KEY NOT NULL,
    order_number     TEXT NOT NULL UNIQUE,
    retailer_id      BLOB NOT NULL REFERENCES retailers (id),
    source           TEXT NOT NULL,
    -- The provider's message that made the order: unique for ever, after its event has been forgotten too.
    message_id       TEXT,
    status           TEXT NOT NULL,
    customer_phone   TEXT,
    customer_user_id TEXT,
    customer_name    TEXT,
    note             TEXT,
    price_note       TEXT,
    total_minor      INTEGER NOT NULL CHECK (total_minor >= 0),
    -- Raised and lowered in the transaction of each payment and refund: never more than is owed, whoever pays at once.
    paid_minor       INTEGER NOT NULL DEFAULT 0 CHECK (paid_minor BETWEEN 0 AND total_minor),
    currency         TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    -- Work made to measure, instead of items.
    service_type     TEXT,
    description      TEXT,
    UNIQUE (source, message_id)
) STRICT;

INSERT INTO orders_2 (id, order_number, retailer_id, source, message_id, status, customer_phone, customer_user_id,
    customer_name, note, price_note, total_minor, paid_minor, currency, created_at, updated_at,
    service_type, description)
SELECT id, order_number, retailer_id, source, message_id, status, customer_phone, customer_user_id,
    customer_name, note, price_note, total_minor, paid_minor, currency, created_at, updated_at,
    service_type, description
FROM orders ORDER BY rowid;
DROP TABLE orders;
ALTER TABLE orders_2 RENAME TO orders;
CREATE INDEX orders_of_retailer ON orders (retailer_id, id);
-- A customer is found by either, the newest order first.
CREATE INDEX orders_of_phone ON orders (customer_phone, id) WHERE customer_phone IS NOT NULL;
CREATE INDEX orders_of_user_id ON orders (customer_user_id, id) WHERE customer_user_id IS NOT NULL;

DELETE FROM webhook_claim WHERE kind = 2;

CREATE VIEW v_orders AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12)) AS id,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    order_number,
    status,
    lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) AS retailer_id,
    source,
    message_id,
    customer_phone,
    customer_user_id,
    customer_name,
    note,
    price_note,
    total_minor,
    paid_minor,
    currency,
    service_type,
    description,
    strftime('%Y-%m-%dT%H:%M:%S', updated_at / 1000000, 'unixepoch') || printf('.%06dZ', updated_at % 1000000) AS updated_at
FROM orders;
