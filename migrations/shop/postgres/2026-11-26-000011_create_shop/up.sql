CREATE TABLE retailers (
    id                UUID PRIMARY KEY NOT NULL,
    name              TEXT NOT NULL,
    phone             TEXT NOT NULL UNIQUE,
    phone_number_id   TEXT UNIQUE,
    currency          TEXT NOT NULL,
    -- A new random value with every change of the products, so that a cached catalogue knows whether it is current.
    catalogue_version UUID NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ NOT NULL
);

CREATE TABLE products (
    id          UUID PRIMARY KEY NOT NULL,
    retailer_id UUID NOT NULL REFERENCES retailers (id),
    sku         TEXT NOT NULL,
    name        TEXT NOT NULL,
    aliases     JSON NOT NULL,
    price_minor BIGINT NOT NULL CHECK (price_minor >= 0),
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL,
    UNIQUE (retailer_id, sku)
);

CREATE TABLE orders (
    id               UUID PRIMARY KEY NOT NULL,
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
    -- Raised and lowered in the transaction of each payment and refund: never more than is owed, whoever pays at once.
    paid_minor       BIGINT NOT NULL DEFAULT 0 CHECK (paid_minor BETWEEN 0 AND total_minor),
    currency         TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    -- Work made to measure, instead of items.
    service_type     TEXT,
    description      TEXT,
    UNIQUE (source, message_id)
);
CREATE INDEX orders_of_retailer ON orders (retailer_id, id);
-- A customer is found by either, the newest order first.
CREATE INDEX orders_of_phone ON orders (customer_phone, id) WHERE customer_phone IS NOT NULL;
CREATE INDEX orders_of_user_id ON orders (customer_user_id, id) WHERE customer_user_id IS NOT NULL;

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

CREATE TABLE payments (
    id             UUID PRIMARY KEY NOT NULL,
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
    id           UUID PRIMARY KEY NOT NULL,
    payment_id   UUID NOT NULL REFERENCES payments (id),
    order_id     UUID NOT NULL REFERENCES orders (id),
    retailer_id  UUID NOT NULL REFERENCES retailers (id),
    amount_minor BIGINT NOT NULL CHECK (amount_minor > 0),
    currency     TEXT NOT NULL,
    reason       TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX refunds_of_payment ON refunds (payment_id);

CREATE TABLE ledger_entries (
    retailer_id  UUID NOT NULL REFERENCES retailers (id),
    kind         TEXT NOT NULL,
    -- Of what is entered: the order, the payment or the refund.
    id           UUID NOT NULL,
    order_id     UUID NOT NULL REFERENCES orders (id),
    amount_minor BIGINT NOT NULL,
    currency     TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    -- Each is entered once, whatever the code above believes, and a retailer's ledger is read as a whole.
    PRIMARY KEY (retailer_id, kind, id)
);

CREATE TABLE bookings (
    id            UUID PRIMARY KEY NOT NULL,
    retailer_id   UUID NOT NULL REFERENCES retailers (id),
    service       TEXT NOT NULL,
    customer_name TEXT NOT NULL,
    -- As the shop's own calendar and clock have it: YYYY-MM-DD and HH:MM.
    date          TEXT NOT NULL,
    time          TEXT NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL
);

-- What customers edited or took back of their messages afterwards: shown with the order that the message made, whichever
-- of the two came first.
CREATE TABLE message_amendments (
    source      TEXT NOT NULL,
    -- The message that was edited or taken back.
    message_id  TEXT NOT NULL,
    -- The event that tells of it.
    event_id    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    -- Whose number both were written to.
    retailer_id UUID NOT NULL REFERENCES retailers (id),
    -- What the message says now, cut where it is long.
    text        TEXT,
    -- When the customer did it, as far as the provider tells it.
    amended_at  TIMESTAMPTZ NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    -- The order, once both are there.
    order_id    UUID,
    PRIMARY KEY (source, message_id, event_id)
);
-- Those of messages that made no order are forgotten with their events.
CREATE INDEX message_amendments_without_order ON message_amendments (created_at) WHERE order_id IS NULL;

-- For people: hashes as text, and what matters first. SQLite has the same.
CREATE VIEW v_retailers AS
SELECT
    id,
    name,
    phone,
    phone_number_id,
    currency,
    catalogue_version,
    created_at,
    updated_at
FROM retailers;

CREATE VIEW v_products AS
SELECT
    id,
    retailer_id,
    sku,
    name,
    aliases,
    price_minor,
    created_at,
    updated_at
FROM products;

CREATE VIEW v_orders AS
SELECT
    id,
    created_at,
    order_number,
    status,
    retailer_id,
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
    updated_at
FROM orders;

CREATE VIEW v_order_items AS
SELECT
    order_id,
    position,
    product_id,
    sku,
    name,
    quantity,
    unit_price_minor
FROM order_items;

CREATE VIEW v_ledger AS
SELECT
    id,
    created_at,
    retailer_id,
    order_id,
    kind,
    amount_minor,
    currency
FROM ledger_entries;

CREATE VIEW v_payments AS
SELECT
    id,
    created_at,
    order_id,
    retailer_id,
    amount_minor,
    refunded_minor,
    currency,
    method
FROM payments;

CREATE VIEW v_refunds AS
SELECT
    id,
    created_at,
    payment_id,
    order_id,
    retailer_id,
    amount_minor,
    currency,
    reason
FROM refunds;

CREATE VIEW v_bookings AS
SELECT
    id,
    created_at,
    retailer_id,
    service,
    customer_name,
    date,
    time
FROM bookings;

CREATE VIEW v_message_amendments AS
SELECT
    source,
    message_id,
    event_id,
    kind,
    retailer_id,
    order_id,
    text,
    amended_at,
    created_at
FROM message_amendments;
