-- An event whose work is no order may be one that must never be done again: it is kept for ever too.
ALTER TABLE webhook_event ADD COLUMN lasting BOOLEAN NOT NULL DEFAULT FALSE;
DROP INDEX webhook_event_without_order;
-- Those that are kept cost this index nothing.
CREATE INDEX webhook_event_passing ON webhook_event (created_at) WHERE order_id IS NULL AND NOT lasting;
DROP VIEW v_events;
CREATE VIEW v_events AS
SELECT
    created_at,
    provider,
    event_id,
    kind,
    outcome,
    order_id,
    lasting,
    retailer_id,
    delivery_id,
    encode(digest, 'hex') AS digest,
    encode(delivery_fingerprint, 'hex') AS delivery_fingerprint,
    reply,
    payload
FROM webhook_event;
