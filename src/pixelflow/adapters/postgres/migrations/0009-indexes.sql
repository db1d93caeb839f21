-- transactional: false
-- What is due, whichever receiver it is for: a courier that has little to do finds that out without asking at every host.
DROP INDEX CONCURRENTLY IF EXISTS events_due;
CREATE INDEX CONCURRENTLY events_due ON events (next_try_at) WHERE status = 'pending';

-- Everybody's usage of some days. Rows lie in the order of their making, so a summary of every few pages is enough.
DROP INDEX CONCURRENTLY IF EXISTS usage_logs_by_time;
CREATE INDEX CONCURRENTLY usage_logs_by_time ON usage_logs USING brin (created_at);

-- Retention. Each holds what is yet to expire, oldest first; what has expired is no longer in the way.
DROP INDEX CONCURRENTLY IF EXISTS jobs_never_started;
CREATE INDEX CONCURRENTLY jobs_never_started ON jobs (created_at) WHERE status = 'created';
DROP INDEX CONCURRENTLY IF EXISTS jobs_with_source;
CREATE INDEX CONCURRENTLY jobs_with_source ON jobs (finished_at)
    WHERE finished_at IS NOT NULL AND source_expired_at IS NULL AND erased_at IS NULL AND source_type = 's3_presigned';
DROP INDEX CONCURRENTLY IF EXISTS jobs_with_outputs;
CREATE INDEX CONCURRENTLY jobs_with_outputs ON jobs (finished_at)
    WHERE finished_at IS NOT NULL AND outputs_expired_at IS NULL AND erased_at IS NULL AND status = 'succeeded';
DROP INDEX CONCURRENTLY IF EXISTS jobs_finished;
CREATE INDEX CONCURRENTLY jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL AND erased_at IS NULL;

-- History, by age: of events, since they were last due; of attempts, since they began, which never changes afterwards.
DROP INDEX CONCURRENTLY IF EXISTS events_over;
CREATE INDEX CONCURRENTLY events_over ON events (next_try_at) WHERE status <> 'pending';
DROP INDEX CONCURRENTLY IF EXISTS attempts_by_age;
CREATE INDEX CONCURRENTLY attempts_by_age ON attempts (started_at);
