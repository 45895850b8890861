DROP INDEX webhook_event_without_order;
DROP INDEX webhook_idempotency_in_progress;
DROP TABLE cleanup_runs;
DROP TABLE job_lease;
