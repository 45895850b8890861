DROP VIEW v_deliveries;
CREATE VIEW v_deliveries AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12)) AS id,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    scope,
    idempotency_key,
    webhook_type,
    status,
    response_status,
    CASE WHEN order_id IS NOT NULL THEN lower(substr(hex(order_id), 1, 8) || '-' || substr(hex(order_id), 9, 4) || '-' || substr(hex(order_id), 13, 4) || '-' || substr(hex(order_id), 17, 4) || '-' || substr(hex(order_id), 21, 12)) END AS order_id,
    CASE WHEN retailer_id IS NOT NULL THEN lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) END AS retailer_id,
    replay_count,
    strftime('%Y-%m-%dT%H:%M:%S', last_accessed_at / 1000000, 'unixepoch') || printf('.%06dZ', last_accessed_at % 1000000) AS last_accessed_at,
    strftime('%Y-%m-%dT%H:%M:%S', expires_at / 1000000, 'unixepoch') || printf('.%06dZ', expires_at % 1000000) AS expires_at,
    strftime('%Y-%m-%dT%H:%M:%S', lease_expires_at / 1000000, 'unixepoch') || printf('.%06dZ', lease_expires_at % 1000000) AS lease_expires_at,
    CASE WHEN owner_token IS NOT NULL THEN lower(substr(hex(owner_token), 1, 8) || '-' || substr(hex(owner_token), 9, 4) || '-' || substr(hex(owner_token), 13, 4) || '-' || substr(hex(owner_token), 17, 4) || '-' || substr(hex(owner_token), 21, 12)) END AS owner_token,
    method,
    path,
    lower(hex(fingerprint)) AS fingerprint,
    source_ip,
    error_message,
    response_content_type,
    response_headers,
    response_encoding,
    response_body,
    request_body,
    body_places,
    events
FROM webhook_idempotency;
DROP VIEW v_events;
DROP INDEX webhook_event_passing;
ALTER TABLE webhook_event DROP COLUMN lasting;
CREATE INDEX webhook_event_without_order ON webhook_event (created_at) WHERE order_id IS NULL;
CREATE VIEW v_events AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000, 'unixepoch') || printf('.%06dZ', created_at % 1000000) AS created_at,
    provider,
    event_id,
    kind,
    outcome,
    CASE WHEN order_id IS NOT NULL THEN lower(substr(hex(order_id), 1, 8) || '-' || substr(hex(order_id), 9, 4) || '-' || substr(hex(order_id), 13, 4) || '-' || substr(hex(order_id), 17, 4) || '-' || substr(hex(order_id), 21, 12)) END AS order_id,
    CASE WHEN retailer_id IS NOT NULL THEN lower(substr(hex(retailer_id), 1, 8) || '-' || substr(hex(retailer_id), 9, 4) || '-' || substr(hex(retailer_id), 13, 4) || '-' || substr(hex(retailer_id), 17, 4) || '-' || substr(hex(retailer_id), 21, 12)) END AS retailer_id,
    CASE WHEN delivery_id IS NOT NULL THEN lower(substr(hex(delivery_id), 1, 8) || '-' || substr(hex(delivery_id), 9, 4) || '-' || substr(hex(delivery_id), 13, 4) || '-' || substr(hex(delivery_id), 17, 4) || '-' || substr(hex(delivery_id), 21, 12)) END AS delivery_id,
    lower(hex(digest)) AS digest,
    lower(hex(delivery_fingerprint)) AS delivery_fingerprint,
    reply,
    payload
FROM webhook_event;
