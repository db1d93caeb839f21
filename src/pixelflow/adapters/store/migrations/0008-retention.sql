-- Retention: what is no longer to be kept. A file is marked as expired in its job's row and written down as to be removed,
-- in one statement; then it is removed from where it lies; then the note goes (docs/adr/0020-removals-are-rows.md).

-- All locks at once, or none. What still runs takes them in both orders (the end of a run: jobs, then by a trigger events; a
-- courier: events, then jobs), so that whoever holds one here and waits for another ends in a deadlock, and this file with it.
DO $$
BEGIN
    SET LOCAL lock_timeout = '100ms';
    FOR try IN 1..1000 LOOP
        BEGIN
            LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE;
            LOCK TABLE attempts, events IN SHARE ROW EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF try = 1000 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.05);  -- what has waited for us goes first
        END;
    END LOOP;
    SET LOCAL lock_timeout = DEFAULT;
END $$;

ALTER TABLE jobs
    -- Since then gone for the job's owner, whatever may still lie in the bucket.
    ADD COLUMN source_expired_at  timestamptz,
    ADD COLUMN outputs_expired_at timestamptz,
    -- The last guard, against code that does not know of expiry: who is on its way has its source. Nothing to validate,
    -- since the column is new; and validating would read the whole table under a lock.
    ADD CONSTRAINT jobs_on_their_way_have_a_source CHECK (source_expired_at IS NULL OR finished_at IS NOT NULL) NOT VALID;

-- Each holds what is yet to expire, oldest first; what has expired is no longer in the way.
CREATE INDEX jobs_never_started ON jobs (created_at) WHERE status = 'created';
CREATE INDEX jobs_with_source ON jobs (finished_at)
    WHERE finished_at IS NOT NULL AND source_expired_at IS NULL AND erased_at IS NULL AND source_type = 's3_presigned';
CREATE INDEX jobs_with_outputs ON jobs (finished_at)
    WHERE finished_at IS NOT NULL AND outputs_expired_at IS NULL AND erased_at IS NULL AND status = 'succeeded';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL AND erased_at IS NULL;

-- History, by age: of events, since they were last due; of attempts, since they began, which never changes afterwards.
CREATE INDEX events_over ON events (next_try_at) WHERE status <> 'pending';
CREATE INDEX attempts_by_age ON attempts (started_at);

CREATE TABLE removals (
    job_id  uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    kind    text NOT NULL CHECK (kind IN ('source', 'output', 'orphan')),
    attempt bigint NOT NULL,  -- whose files; 0 for a source
    due_at  timestamptz NOT NULL,
    PRIMARY KEY (job_id, kind, attempt)
);
CREATE INDEX removals_due ON removals (due_at);
ALTER TABLE removals ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY within_reach ON removals USING (
    CASE current_setting('pixelflow.reach', true) WHEN 'everyone' THEN true
         ELSE EXISTS (SELECT FROM jobs WHERE jobs.job_id = removals.job_id) END);

-- What an attempt that came to nothing may have stored is named by nobody. Whatever ends one writes that down, by this
-- trigger. Due when its worker, taken for dead perhaps, can store nothing any more: the longest lease that the settings
-- allow, and the slowest transfer, an hour each.
CREATE FUNCTION remove_orphans() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO removals (job_id, kind, attempt, due_at)
    VALUES (NEW.job_id, 'orphan', NEW.attempt, now() + interval '2 hours')
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_remove_orphans AFTER UPDATE OF outcome ON attempts FOR EACH ROW
    WHEN (NEW.outcome <> 'succeeded' AND NEW.outcome IS DISTINCT FROM OLD.outcome)
    EXECUTE FUNCTION remove_orphans();
INSERT INTO removals (job_id, kind, attempt, due_at)
    SELECT job_id, 'orphan', attempt, ended_at + interval '2 hours' FROM attempts WHERE outcome <> 'succeeded';
