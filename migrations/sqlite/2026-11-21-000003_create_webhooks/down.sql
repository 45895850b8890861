DROP TABLE webhook_idempotency;
DROP TABLE message_status;
DROP TABLE webhook_event;
