-- Changes of jobs, for those who wait for them; and how far the present attempt of a job has come.

LOCK TABLE jobs, job_queue;

-- The transaction that last changed the job's status, or erased the job; null: none since this migration. Transactions become visible in
-- another order than they have numbers, so readers compare it with snapshots (docs/adr/0057-changes-are-read-by-snapshot.md).
ALTER TABLE jobs ADD COLUMN change xid8;
ALTER TABLE jobs ALTER COLUMN change SET DEFAULT pg_current_xact_id();

-- A trigger, so that the statements of older releases set it, too. The status is in an index, so these updates are never HOT anyway.
CREATE FUNCTION set_job_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.change := pg_current_xact_id();
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION set_job_change() FROM PUBLIC;
CREATE TRIGGER jobs_set_change BEFORE UPDATE OF status, erased_at ON jobs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.erased_at IS DISTINCT FROM NEW.erased_at)
    EXECUTE FUNCTION set_job_change();

-- Written with each renewal of the lease, and only by workers of this release or later: valid for the attempt `progress_token` only.
ALTER TABLE job_queue ADD COLUMN progress_token bigint,
                      ADD COLUMN stage text,
                      ADD COLUMN percent smallint;  -- of the stage; null: unknown
