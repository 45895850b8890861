ALTER TABLE webhook_idempotency DROP COLUMN response_encoding;
ALTER TABLE webhook_idempotency DROP COLUMN response_headers;

DROP INDEX ledger_entries_one_per_refund;
DROP INDEX ledger_entries_one_per_payment;
DROP INDEX ledger_entries_one_cancellation;
DROP INDEX ledger_entries_of_retailer;
ALTER TABLE ledger_entries DROP COLUMN refund_id;
ALTER TABLE ledger_entries DROP COLUMN payment_id;

DROP TABLE bookings;
DROP TABLE refunds;
DROP TABLE payments;

DROP INDEX orders_of_retailer;
ALTER TABLE orders DROP COLUMN description;
ALTER TABLE orders DROP COLUMN service_type;
ALTER TABLE orders DROP COLUMN paid_minor;

DROP TABLE api_tokens;
DROP TABLE api_clients;
