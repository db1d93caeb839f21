-- transactional: false
-- A run has one event of each type for its webhook URL, and one for each endpoint. It is also the index of a job's events.
DROP INDEX CONCURRENTLY IF EXISTS events_by_job;
CREATE UNIQUE INDEX CONCURRENTLY events_by_job
    ON events (job_id, run, type, coalesce(endpoint_id, '00000000-0000-0000-0000-000000000000'));
-- The newest events of an endpoint.
DROP INDEX CONCURRENTLY IF EXISTS events_by_endpoint;
CREATE INDEX CONCURRENTLY events_by_endpoint ON events (endpoint_id, created_at DESC) WHERE endpoint_id IS NOT NULL;
