-- transactional: false
-- The jobs of a batch by status, which are counted without reading the jobs.

DROP INDEX CONCURRENTLY IF EXISTS jobs_by_batch;
CREATE INDEX CONCURRENTLY jobs_by_batch ON jobs (user_id, batch_id, status) INCLUDE (job_id) WHERE batch_id IS NOT NULL;
