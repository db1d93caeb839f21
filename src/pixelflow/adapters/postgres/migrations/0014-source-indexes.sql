-- transactional: false
-- Unfinished jobs by the job whose file they read; and by user, uploads that are awaited and when each is looked at next.

DROP INDEX CONCURRENTLY IF EXISTS jobs_reading_files;
CREATE INDEX CONCURRENTLY jobs_reading_files ON jobs (source_job_id) WHERE source_job_id IS NOT NULL AND finished_at IS NULL;

DROP INDEX CONCURRENTLY IF EXISTS jobs_awaited;
CREATE INDEX CONCURRENTLY jobs_awaited ON jobs (user_id, start_check_at)
    WHERE start_check_at IS NOT NULL AND status = 'created' AND auto_start;
