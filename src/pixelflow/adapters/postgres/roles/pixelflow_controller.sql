-- The controller reaps leases, delivers webhooks, starts jobs whose source has arrived and deletes what has expired, for all users. It neither
-- authenticates nor bills.
GRANT SELECT, UPDATE, DELETE         ON jobs              TO pixelflow_controller;
GRANT SELECT, UPDATE, DELETE         ON awaited_sources   TO pixelflow_controller;
GRANT SELECT, UPDATE, DELETE         ON attempts          TO pixelflow_controller;
GRANT SELECT, DELETE                 ON outputs           TO pixelflow_controller;
GRANT SELECT                         ON usage_logs        TO pixelflow_controller;
GRANT SELECT, UPDATE, DELETE         ON events            TO pixelflow_controller;
GRANT SELECT, INSERT, DELETE         ON deliveries        TO pixelflow_controller;
GRANT SELECT                         ON webhook_endpoints TO pixelflow_controller;
GRANT SELECT, INSERT                 ON webhook_secrets   TO pixelflow_controller;
GRANT SELECT (user_id, key, created_at), UPDATE (created_at), DELETE
                                     ON idempotency_keys  TO pixelflow_controller;  -- UPDATE: it locks the rows
GRANT SELECT, INSERT, UPDATE, DELETE ON pending_deletions TO pixelflow_controller;
GRANT SELECT, INSERT                 ON requirement_sets  TO pixelflow_controller;
GRANT SELECT, INSERT, UPDATE, DELETE ON job_queue         TO pixelflow_controller;
GRANT SELECT, INSERT, UPDATE, DELETE ON queue_lanes       TO pixelflow_controller;
GRANT SELECT                         ON queue_shares      TO pixelflow_controller;
GRANT SELECT, DELETE                 ON workers           TO pixelflow_controller;
GRANT SELECT, INSERT, UPDATE         ON controller_leases TO pixelflow_controller;
GRANT SELECT, UPDATE, DELETE         ON assets            TO pixelflow_controller;
GRANT SELECT, DELETE                 ON job_assets        TO pixelflow_controller;
GRANT SELECT, UPDATE (finished_at, next_check_at), DELETE
                                     ON batches           TO pixelflow_controller;
