-- What a worker needs of a job that `claim_jobs` returned, beside what that has.

-- Volatile, so that it has a snapshot of its own. The statement that calls `claim_jobs` has an older one: in it, a job that was committed
-- after the statement began does not exist, or has not been started, although `claim_jobs` has claimed it.
CREATE FUNCTION claimed_job(claimed uuid)
RETURNS TABLE (source_options jsonb, source_version text, declared_sha256 text, priority smallint, destination jsonb,
               source_bucket text, source_url text)
LANGUAGE sql VOLATILE ROWS 1 AS $$
    SELECT source_options, CASE WHEN source_version_run = run THEN source_version END, declared_sha256, priority, destination,
           source_bucket, source_url
    FROM jobs WHERE job_id = claimed;
$$;
