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
-- The lease of a request that was answered at once never ran.
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
    CASE WHEN status = 'in_progress' THEN lease_expires_at END AS lease_expires_at,
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
