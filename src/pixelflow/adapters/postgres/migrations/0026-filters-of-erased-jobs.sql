-- An erasure that was not committed when 0015 read the jobs could not see the rows that 0015 inserted, and left them. It has committed since:
-- 0020 waited for all writers of jobs. No statement reads these rows, and no client writes them.

DELETE FROM job_filters AS entry
WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.job_id = entry.job_id AND jobs.erased_at IS NULL);
