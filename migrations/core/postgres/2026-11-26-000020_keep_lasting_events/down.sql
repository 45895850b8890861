DROP VIEW v_events;
DROP INDEX webhook_event_passing;
ALTER TABLE webhook_event DROP COLUMN lasting;
CREATE INDEX webhook_event_without_order ON webhook_event (created_at) WHERE order_id IS NULL;
CREATE VIEW v_events AS
SELECT
    created_at,
    provider,
    event_id,
    kind,
    outcome,
    order_id,
    retailer_id,
    delivery_id,
    encode(digest, 'hex') AS digest,
    encode(delivery_fingerprint, 'hex') AS delivery_fingerprint,
    reply,
    payload
FROM webhook_event;
