-- The messages that made orders, in the tree of what else is claimed of their ids.
DROP VIEW v_orders;

CREATE TABLE orders_2 (
    -- SQLite's own number of the row, by which it is claimed: named, so that VACUUM leaves it as it is.
    rowid            INTEGER PRIMARY KEY,
    id               BLOB NOT NULL UNIQUE,
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
    description      TEXT
) STRICT;

INSERT INTO orders_2 (rowid, id, order_number, retailer_id, source, message_id, status, customer_phone, customer_user_id,
    customer_name, note, price_note, total_minor, paid_minor, currency, created_at, updated_at,
    service_type, description)
SELECT rowid, id, order_number, retailer_id, source, message_id, status, customer_phone, customer_user_id,
    customer_name, note, price_note, total_minor, paid_minor, currency, created_at, updated_at,
    service_type, description
FROM orders ORDER BY rowid;

INSERT INTO webhook_claim (id, kind, owner, row)
SELECT message_id, 2, source, rowid FROM orders WHERE message_id IS NOT NULL ORDER BY message_id, source;
DROP TABLE orders;
ALTER TABLE orders_2 RENAME TO orders;
CREATE INDEX orders_of_retailer ON orders (retailer_id, id);
-- A customer is found by either, the newest order first.
CREATE INDEX orders_of_phone ON orders (customer_phone, id) WHERE customer_phone IS NOT NULL;
CREATE INDEX orders_of_user_id ON orders (customer_user_id, id) WHERE customer_user_id IS NOT NULL;

-- A message is claimed by a statement before that of its order: with a trigger, SQLite would copy each page that it changes,
-- for a foreign key could have the statement undone.
CREATE TRIGGER orders_claim_changed AFTER UPDATE OF source, message_id ON orders
BEGIN
    DELETE FROM webhook_claim WHERE id = OLD.message_id AND kind = 2 AND owner = OLD.source;
    INSERT INTO webhook_claim (id, kind, owner, row)
    SELECT NEW.message_id, 2, NEW.source, NEW.rowid WHERE NEW.message_id IS NOT NULL;
END;

CREATE TRIGGER orders_claim_freed AFTER DELETE ON orders
BEGIN
    DELETE FROM webhook_claim WHERE id = OLD.message_id AND kind = 2 AND owner = OLD.source AND row = OLD.rowid;
END;

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
