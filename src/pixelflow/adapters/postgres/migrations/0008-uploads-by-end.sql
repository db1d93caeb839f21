-- transactional: false
-- Unstarted jobs by the time of their end: canceled and erased ones count as pending uploads only while their URL is valid.
-- The former index jobs_pending_uploads stays for the statement of the release before.

DROP INDEX CONCURRENTLY IF EXISTS jobs_uploads_by_end;
CREATE INDEX CONCURRENTLY jobs_uploads_by_end ON jobs (user_id, finished_at) INCLUDE (declared_bytes)
    WHERE queued_at IS NULL AND source_expired_at IS NULL AND source_type = 's3_presigned';
