-- transactional: false
-- The batches that are closed and have not finished, in the order of their checks.
DROP INDEX CONCURRENTLY IF EXISTS batches_to_check;
CREATE INDEX CONCURRENTLY batches_to_check ON batches (next_check_at) WHERE closed_at IS NOT NULL AND finished_at IS NULL;
-- A batch has one event of each type for its webhook URL, and one for each endpoint. It is also the index of a batch's events.
DROP INDEX CONCURRENTLY IF EXISTS events_by_batch;
CREATE UNIQUE INDEX CONCURRENTLY events_by_batch
    ON events (batch_id, type, coalesce(endpoint_id, '00000000-0000-0000-0000-000000000000')) WHERE batch_id IS NOT NULL;
