-- Where many deliveries are acted on at once, keys are claimed and answered in one statement, before the orders that the
-- answers tell of are written: the order must be there at the end of the transaction.
ALTER TABLE webhook_idempotency ALTER CONSTRAINT webhook_idempotency_order_id_fkey DEFERRABLE INITIALLY DEFERRED;

-- Records that come in one statement are counted together, as those that go.
DROP TRIGGER webhook_idempotency_counted ON webhook_idempotency;

CREATE FUNCTION webhook_idempotency_count_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Most that come alone are in progress.
    IF NOT EXISTS (SELECT FROM fresh WHERE status <> 'in_progress') THEN
        RETURN NULL;
    END IF;
    INSERT INTO record_totals AS t (webhook_type, retailer_id, status, slot, records, replays)
    SELECT webhook_type, coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), status, pg_backend_pid(),
        count(*), sum(replay_count)
    FROM fresh WHERE status <> 'in_progress' GROUP BY 1, 2, 3
    ON CONFLICT (webhook_type, retailer_id, status, slot)
    DO UPDATE SET records = t.records + excluded.records, replays = t.replays + excluded.replays;
    INSERT INTO record_expiries AS e (minute, webhook_type, retailer_id, slot, records)
    SELECT date_trunc('minute', expires_at, 'UTC'), webhook_type,
        coalesce(retailer_id, '00000000-0000-0000-0000-000000000000'), pg_backend_pid(), count(*)
    FROM fresh WHERE status <> 'in_progress' GROUP BY 1, 2, 3
    ON CONFLICT (minute, webhook_type, retailer_id, slot) DO UPDATE SET records = e.records + excluded.records;
    RETURN NULL;
END $$;

CREATE TRIGGER webhook_idempotency_counted AFTER INSERT ON webhook_idempotency
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION webhook_idempotency_count_new();
