-- Workers decode images from untrusted users. A worker reads what it needs to process a job, and records the outcome. It can't read keys,
-- secrets, stored responses or webhook URLs, and can't change what a user requested.
GRANT SELECT (job_id, user_id, status, source_type, source_key, source_bucket, source_url, source_options, source_version, source_version_run,
              declared_sha256, run, pipeline, destination, traceparent, priority, attempts, max_attempts, lease_token, queued_at, started_at),
      UPDATE (status, source_version, source_version_run, source_bytes, source_sha256, source_format, source_width, source_height, source_frames, warnings,
              attempts, lease_token, error, started_at, finished_at)
                                     ON jobs              TO pixelflow_worker;
GRANT SELECT                         ON requirement_sets  TO pixelflow_worker;
GRANT SELECT, UPDATE, DELETE         ON job_queue         TO pixelflow_worker;
GRANT SELECT, UPDATE                 ON queue_lanes       TO pixelflow_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON workers           TO pixelflow_worker;
GRANT SELECT, INSERT, UPDATE         ON failed_usage      TO pixelflow_worker;
GRANT SELECT (job_id, attempt), INSERT, UPDATE (ended_at, outcome, error, stages)
                                     ON attempts          TO pixelflow_worker;
GRANT INSERT                         ON outputs           TO pixelflow_worker;
GRANT INSERT                         ON usage_logs        TO pixelflow_worker;
GRANT SELECT (asset_id, bytes, etag) ON assets            TO pixelflow_worker;
GRANT SELECT                         ON job_assets        TO pixelflow_worker;
