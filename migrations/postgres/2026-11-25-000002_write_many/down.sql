DROP TRIGGER webhook_idempotency_counted ON webhook_idempotency;
DROP FUNCTION webhook_idempotency_count_new;
CREATE TRIGGER webhook_idempotency_counted AFTER INSERT ON webhook_idempotency
FOR EACH ROW WHEN (NEW.status <> 'in_progress') EXECUTE FUNCTION webhook_idempotency_count();
ALTER TABLE webhook_idempotency ALTER CONSTRAINT webhook_idempotency_order_id_fkey NOT DEFERRABLE;
