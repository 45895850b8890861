CREATE TABLE orders (
    id               UUID PRIMARY KEY,
    order_number     TEXT NOT NULL UNIQUE,
    retailer_id      UUID NOT NULL REFERENCES retailers (id),
    source           TEXT NOT NULL,
    -- The provider's message that made the order: unique for ever, after its event has been forgotten too.
    message_id       TEXT,
    status           TEXT NOT NULL,
    customer_phone   TEXT,
    customer_user_id TEXT,
    customer_name    TEXT,
    note             TEXT,
    price_note       TEXT,
    total_minor      BIGINT NOT NULL CHECK (total_minor >= 0),
    currency         TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    UNIQUE (source, message_id)
);

CREATE TABLE order_items (
    order_id         UUID NOT NULL REFERENCES orders (id),
    position         INTEGER NOT NULL,
    product_id       UUID NOT NULL REFERENCES products (id),
    sku              TEXT NOT NULL,
    name             TEXT NOT NULL,
    quantity         INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_minor BIGINT NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, position)
);

CREATE TABLE ledger_entries (
    id           UUID PRIMARY KEY,
    retailer_id  UUID NOT NULL REFERENCES retailers (id),
    order_id     UUID NOT NULL REFERENCES orders (id),
    kind         TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency     TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL
);

-- An order is entered once, whatever the code above believes.
CREATE UNIQUE INDEX ledger_entries_one_per_order ON ledger_entries (order_id) WHERE kind = 'order';
