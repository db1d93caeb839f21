-- The API acts within the tenant scope of each request. It creates jobs and keys, and never deletes a job's row.
GRANT SELECT, INSERT, UPDATE         ON api_keys          TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE         ON jobs              TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE         ON awaited_sources   TO pixelflow_api;
GRANT SELECT, UPDATE                 ON attempts          TO pixelflow_api;
GRANT SELECT, DELETE                 ON outputs           TO pixelflow_api;
GRANT SELECT                         ON usage_logs        TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON events            TO pixelflow_api;  -- INSERT: test events
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints TO pixelflow_api;
GRANT SELECT                         ON deliveries        TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_secrets   TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys  TO pixelflow_api;
GRANT INSERT                         ON pending_deletions TO pixelflow_api;
GRANT SELECT, INSERT                 ON requirement_sets  TO pixelflow_api;
GRANT SELECT, INSERT, DELETE         ON job_queue         TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE         ON queue_lanes       TO pixelflow_api;
GRANT SELECT                         ON queue_shares      TO pixelflow_api;
GRANT SELECT                         ON workers           TO pixelflow_api;
GRANT SELECT                         ON failed_usage      TO pixelflow_api;
GRANT SELECT                         ON usage_days        TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE         ON assets            TO pixelflow_api;
GRANT SELECT, INSERT, DELETE         ON job_assets        TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE         ON presets           TO pixelflow_api;
GRANT SELECT, INSERT, DELETE         ON preset_versions   TO pixelflow_api;
GRANT SELECT                         ON job_filters       TO pixelflow_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON batches           TO pixelflow_api;
