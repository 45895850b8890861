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
    retailer_id TEXT NOT NULL REFERENCES retailers (id),
    -- What the message says now, cut where it is long.
    text        TEXT,
    -- When the customer did it, as far as the provider tells it.
    amended_at  TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    -- The order, once both are there.
    order_id    TEXT,
    PRIMARY KEY (source, message_id, event_id)
) STRICT, WITHOUT ROWID;
-- Those of messages that made no order are forgotten with their events.
CREATE INDEX message_amendments_without_order ON message_amendments (created_at) WHERE order_id IS NULL;

-- A user id or a name stood where the number should.
UPDATE orders SET customer_user_id = coalesce(customer_user_id, customer_phone)
WHERE customer_phone GLOB '[A-Z][A-Z].[0-9A-Za-z]*';
UPDATE orders SET customer_phone = NULL
WHERE customer_phone NOT GLOB '+[1-9]*' OR substr(customer_phone, 2) GLOB '*[^0-9]*'
    OR length(customer_phone) NOT BETWEEN 8 AND 16;

-- A customer is found by either, the newest order first.
CREATE INDEX orders_of_phone ON orders (customer_phone, id) WHERE customer_phone IS NOT NULL;
CREATE INDEX orders_of_user_id ON orders (customer_user_id, id) WHERE customer_user_id IS NOT NULL;

-- Edits and revokes of messages that made an order.
ALTER TABLE traffic_hours ADD COLUMN edits_noted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE traffic_hours ADD COLUMN revokes_noted INTEGER NOT NULL DEFAULT 0;
