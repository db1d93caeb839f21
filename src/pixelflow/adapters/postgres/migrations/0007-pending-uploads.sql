-- transactional: false
-- Jobs whose upload may still arrive, or was never used: by user, for the limit; canceled ones by age, for retention.

DROP INDEX CONCURRENTLY IF EXISTS jobs_pending_uploads;
CREATE INDEX CONCURRENTLY jobs_pending_uploads ON jobs (user_id) INCLUDE (declared_bytes)
    WHERE queued_at IS NULL AND source_expired_at IS NULL AND source_type = 's3_presigned';

DROP INDEX CONCURRENTLY IF EXISTS jobs_canceled_before_start;
CREATE INDEX CONCURRENTLY jobs_canceled_before_start ON jobs (created_at)
    WHERE status = 'canceled' AND queued_at IS NULL AND source_expired_at IS NULL AND erased_at IS NULL
      AND source_type = 's3_presigned';
