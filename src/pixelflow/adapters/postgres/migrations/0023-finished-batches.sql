-- The end of batches: a closed batch takes no more jobs and, when all of its jobs have ended, has one event for each receiver
-- (docs/adr/0065-the-end-of-batches.md).

LOCK TABLE jobs, batches, events;
ALTER TABLE batches ADD COLUMN closed_at timestamptz,      -- it takes no more jobs; also since it was canceled
                    ADD COLUMN finished_at timestamptz,    -- it is closed, and all of its jobs have ended
                    ADD COLUMN next_check_at timestamptz;  -- when a controller looks whether they have; since it was closed
-- An event has a job or a batch; a test event has neither.
ALTER TABLE events ADD COLUMN batch_id uuid;
ALTER TABLE events ADD CONSTRAINT events_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES batches ON DELETE CASCADE NOT VALID;

-- As `make_event` and `make_endpoint_events`, for the batch's own webhook URL and the endpoints of the user.
CREATE FUNCTION make_batch_events() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    own CONSTANT text := NEW.job->>'webhook_url';
BEGIN
    INSERT INTO events (event_id, batch_id, run, user_id, type, url, endpoint_id)
    SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), NEW.batch_id, 0, NEW.user_id, 'batch.finished', url, endpoint_id
    FROM (SELECT own, NULL::uuid WHERE own IS NOT NULL
          UNION ALL
          SELECT url, endpoint_id FROM webhook_endpoints
          WHERE user_id = NEW.user_id AND enabled AND (event_types IS NULL OR 'batch.finished' = ANY (event_types))
            AND url IS DISTINCT FROM own) AS receiver (url, endpoint_id);
    RETURN NULL;
END $$;
CREATE TRIGGER batches_make_events AFTER UPDATE OF finished_at ON batches FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION make_batch_events();
REVOKE EXECUTE ON FUNCTION make_batch_events() FROM PUBLIC;

-- The end of a job makes the next check of its batch due soon. It waits for no lock: if the row is locked, a check is in progress, or another
-- job has ended. It writes only if the next check is far away, so at most once in a second, however many jobs of the batch end.
CREATE FUNCTION check_batch_soon() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE batches SET next_check_at = now() + interval '0.5 s'
    FROM (SELECT batch_id FROM batches
          WHERE batch_id = NEW.batch_id AND closed_at IS NOT NULL AND finished_at IS NULL AND next_check_at > now() + interval '1 s'
          FOR NO KEY UPDATE SKIP LOCKED) AS late
    WHERE batches.batch_id = late.batch_id;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_check_batch AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.batch_id IS NOT NULL AND NEW.status IN ('succeeded', 'failed', 'canceled') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION check_batch_soon();
REVOKE EXECUTE ON FUNCTION check_batch_soon() FROM PUBLIC;
