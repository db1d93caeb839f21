-- Runs (a manual retry begins a new one), erasure, and the events that tell a job's owner how a run ended.

ALTER TABLE jobs
    ADD COLUMN run      integer NOT NULL DEFAULT 1,
    -- Erased: gone for its owner, the row a tombstone whose files are to be removed at `purge_at`.
    ADD COLUMN erased_at timestamptz,
    ADD COLUMN purge_at  timestamptz;
-- What was never sent comes before what was sent long ago.
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (relayed_at NULLS FIRST, run_at) WHERE status = 'queued';
CREATE INDEX jobs_to_purge ON jobs (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE events (
    event_id   text PRIMARY KEY,  -- the `webhook-id`: one per event, the same on every try and replay
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    run        integer NOT NULL,
    user_id    text NOT NULL,
    type       text NOT NULL CHECK (type IN ('job.completed', 'job.failed', 'job.canceled')),
    url        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Whose turn it is, as in `jobs`: due at `next_try_at`, in a courier's hands until `lease_until`.
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'exhausted', 'refused')),
    tries       integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz,
    UNIQUE (job_id, run, type)
);
CREATE INDEX events_pending ON events (next_try_at) WHERE status = 'pending';

-- A client without a webhook URL has no event. Whatever ends a run makes its event in the same statement, by this trigger:
-- no way of ending one can forget it.
CREATE FUNCTION make_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (event_id, job_id, run, user_id, type, url)
    VALUES ('msg_' || replace(gen_random_uuid()::text, '-', ''), NEW.job_id, NEW.run, NEW.user_id,
            CASE NEW.status WHEN 'succeeded' THEN 'job.completed' ELSE 'job.' || NEW.status END, NEW.webhook_url);
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_make_event AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'failed', 'canceled') AND OLD.status <> NEW.status
          AND NEW.webhook_url IS NOT NULL AND NEW.erased_at IS NULL)
    EXECUTE FUNCTION make_event();
