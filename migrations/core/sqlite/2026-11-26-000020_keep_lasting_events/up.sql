-- An event whose work is no order may be one that must never be done again: it is kept for ever too.
ALTER TABLE webhook_event ADD COLUMN lasting INTEGER NOT NULL DEFAULT 0;
DROP INDEX webhook_event_without_order;
-- Those that are kept cost this index nothing.
CREATE INDEX webhook_event_passing ON webhook_event (created_at) WHERE order_id IS NULL AND lasting = 0;
DROP VIEW v_events;
CREATE VIEW v_events AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    provider,
    event_id,
    kind,
    outcome,
    CASE WHEN order_id IS NOT NULL THEN lower(substr(hex(order_id), 1, 8) || '-' || substr(hex(order_id), 9, 4) || '-' || substr(hex(order_id), 13, 4) || '-' || substr(hex(order_id), 17, 4) || '-' || substr(hex(order_id), 21, 12)) END AS order_id,
    lasting,
    CASE WHEN retailer_id IS NOT NULL THEN lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) END AS retailer_id,
    CASE WHEN delivery_id IS NOT NULL THEN lower(substr(hex(delivery_id), 1, 8) || '-' || substr(hex(delivery_id), 9, 4) || '-' || substr(hex(delivery_id), 13, 4) || '-' || substr(hex(delivery_id), 17, 4) || '-' || substr(hex(delivery_id), 21, 12)) END AS delivery_id,
    lower(hex(digest)) AS digest,
    lower(hex(delivery_fingerprint)) AS delivery_fingerprint,
    reply,
    payload
FROM webhook_event;
