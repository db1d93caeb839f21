-- Retention: what is no longer to be kept. A file is marked as expired in its job's row and written down as to be removed,
-- in one statement; then it is removed from where it lies; then the note goes (docs/adr/0020-removals-are-rows.md).

-- All locks at once, or none: docs/database.md.
LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE;
LOCK TABLE attempts IN SHARE ROW EXCLUSIVE MODE;

ALTER TABLE jobs
    -- Since then gone for the job's owner, whatever may still lie in the bucket.
    ADD COLUMN source_expired_at  timestamptz,
    ADD COLUMN outputs_expired_at timestamptz,
    -- The last guard, against code that does not know of expiry: who is on its way has its source. Nothing to validate,
    -- since the column is new; and validating would read the whole table under a lock.
    ADD CONSTRAINT jobs_on_their_way_have_a_source CHECK (source_expired_at IS NULL OR finished_at IS NOT NULL) NOT VALID;

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
