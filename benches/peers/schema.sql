-- What both peers write to: a received message with its reply, the order that it made, its items, and a ledger entry.
CREATE TABLE IF NOT EXISTS messages (
    message_sid text PRIMARY KEY,
    sender text NOT NULL,
    body text NOT NULL,
    reply text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS orders (
    id uuid PRIMARY KEY,
    message_sid text NOT NULL UNIQUE REFERENCES messages,
    customer text NOT NULL,
    total_cents bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS order_items (
    order_id uuid NOT NULL REFERENCES orders,
    position int NOT NULL,
    sku text NOT NULL,
    quantity int NOT NULL,
    price_cents bigint NOT NULL,
    PRIMARY KEY (order_id, position)
);
CREATE TABLE IF NOT EXISTS ledger_entries (
    id uuid PRIMARY KEY,
    order_id uuid NOT NULL UNIQUE REFERENCES orders,
    amount_cents bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
