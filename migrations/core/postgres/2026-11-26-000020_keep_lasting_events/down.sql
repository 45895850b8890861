DROP VIEW v_deliveries;
CREATE VIEW v_deliveries AS
SELECT
    id,
    created_at,
    scope,
    idempotency_key,
    webhook_type,
    status,
    response_status,
    order_id,
    retailer_id,
    replay_count,
    last_accessed_at,
    expires_at,
    lease_expires_at,
    owner_token,
    method,
    path,
    encode(fingerprint, 'hex') AS fingerprint,
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
