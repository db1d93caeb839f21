-- Events of endpoints: several for one run of a job, and test events without a job.

LOCK TABLE events, jobs;
ALTER TABLE events DROP CONSTRAINT IF EXISTS events_job_id_run_type_key,  -- replaced by the index events_by_job
                   DROP CONSTRAINT IF EXISTS events_type_check,
                   ADD CONSTRAINT events_type_form_check CHECK (type ~ '^[a-z]+\.[a-z]+$') NOT VALID,
                   ALTER COLUMN job_id DROP NOT NULL;

-- As `make_event`, for the endpoints of the user. An endpoint with the webhook URL of the job gets no second event.
CREATE FUNCTION make_endpoint_events() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    ended CONSTANT text := CASE NEW.status WHEN 'succeeded' THEN 'job.completed' ELSE 'job.' || NEW.status END;
BEGIN
    INSERT INTO events (event_id, job_id, run, user_id, type, url, endpoint_id)
    SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), NEW.job_id, NEW.run, NEW.user_id, ended, url, endpoint_id
    FROM webhook_endpoints
    WHERE user_id = NEW.user_id AND enabled AND (event_types IS NULL OR ended = ANY (event_types))
      AND url IS DISTINCT FROM NEW.webhook_url;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_make_endpoint_events AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'failed', 'canceled') AND OLD.status <> NEW.status AND NEW.erased_at IS NULL)
    EXECUTE FUNCTION make_endpoint_events();
REVOKE EXECUTE ON FUNCTION make_endpoint_events() FROM PUBLIC;
