-- transactional: false
-- Unfinished jobs by the job whose file they read.

DROP INDEX CONCURRENTLY IF EXISTS jobs_reading_files;
CREATE INDEX CONCURRENTLY jobs_reading_files ON jobs (source_job_id) WHERE source_job_id IS NOT NULL AND finished_at IS NULL;
