CREATE TABLE orders (
    id               TEXT PRIMARY KEY NOT NULL,
    order_number     TEXT NOT NULL UNIQUE,
    retailer_id      TEXT NOT NULL REFERENCES retailers (id),
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
    currency         TEXT NOT NULL,
    created_at       TEXT NOT NULL,
    updated_at       TEXT NOT NULL,
    UNIQUE (source, message_id)
) STRICT;

CREATE TABLE order_items (
    order_id         TEXT NOT NULL REFERENCES orders (id),
    position         INTEGER NOT NULL,
    product_id       TEXT NOT NULL REFERENCES products (id),
    sku              TEXT NOT NULL,
    name             TEXT NOT NULL,
    quantity         INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_minor INTEGER NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger_entries (
    id           TEXT PRIMARY KEY NOT NULL,
    retailer_id  TEXT NOT NULL REFERENCES retailers (id),
    order_id     TEXT NOT NULL REFERENCES orders (id),
    kind         TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    created_at   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- An order is entered once, whatever the code above believes.
CREATE UNIQUE INDEX ledger_entries_one_per_order ON ledger_entries (order_id) WHERE kind = 'order';
