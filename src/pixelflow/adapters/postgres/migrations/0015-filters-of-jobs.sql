-- The filters of the jobs that are there already.

INSERT INTO job_filters (user_id, digest, created_at, job_id)
SELECT user_id, digest, created_at, job_id
FROM jobs CROSS JOIN filter_digests(metadata, preset, preset_version, batch_id) AS digest
WHERE erased_at IS NULL AND (metadata <> '{}' OR preset IS NOT NULL)
ON CONFLICT DO NOTHING;
