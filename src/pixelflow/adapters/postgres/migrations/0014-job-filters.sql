-- What jobs are listed by: their metadata, preset and batch. Each is one row of a narrow table, found by a B-tree, because the operators of
-- jsonb are not leakproof: under row-level security, an index of them serves only the owner of the tables
-- (docs/adr/0060-batches-and-filters.md).

LOCK TABLE jobs;
ALTER TABLE jobs ADD COLUMN batch_id uuid;  -- references nothing: a job outlives its batch

-- It references no job: a foreign key would need an index of its own. The triggers below delete the rows.
CREATE TABLE job_filters (
    user_id    text NOT NULL,
    digest     bytea NOT NULL,  -- of the name and the value, which can be longer than an entry of an index
    created_at timestamptz NOT NULL,
    job_id     uuid NOT NULL,
    PRIMARY KEY (user_id, digest, created_at, job_id)
);
ALTER TABLE job_filters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY in_tenant_scope ON job_filters USING (in_tenant_scope(user_id));

CREATE FUNCTION filter_digest(name text, value text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN substr(sha256(convert_to(name || '=' || value, 'UTF8')), 1, 16);

-- A preset counts with and without its version.
CREATE FUNCTION filter_digests(metadata jsonb, preset text, preset_version integer, batch_id uuid) RETURNS SETOF bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT filter_digest('metadata.' || key, value) FROM jsonb_each_text(metadata)
    UNION SELECT filter_digest('preset', preset) WHERE preset IS NOT NULL
    UNION SELECT filter_digest('preset', preset || '@' || preset_version) WHERE preset IS NOT NULL
    UNION SELECT filter_digest('batch', batch_id::text) WHERE batch_id IS NOT NULL;
$$;

-- They run in the statement that inserts, erases or deletes a job, whichever release sends it. They run as the owner of the tables, because
-- nobody else writes the rows. Row-level security applies to the owner, too.
CREATE FUNCTION add_job_filters() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_filters (user_id, digest, created_at, job_id)
    SELECT NEW.user_id, digest, NEW.created_at, NEW.job_id
    FROM filter_digests(NEW.metadata, NEW.preset, NEW.preset_version, NEW.batch_id) AS digest;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_add_filters AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.metadata <> '{}' OR NEW.preset IS NOT NULL OR NEW.batch_id IS NOT NULL)
    EXECUTE FUNCTION add_job_filters();

CREATE FUNCTION delete_job_filters() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM job_filters
    USING filter_digests(OLD.metadata, OLD.preset, OLD.preset_version, OLD.batch_id) AS of_job (digest)
    WHERE job_filters.user_id = OLD.user_id AND job_filters.digest = of_job.digest
      AND job_filters.created_at = OLD.created_at AND job_filters.job_id = OLD.job_id;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_delete_filters_erased AFTER UPDATE OF erased_at ON jobs FOR EACH ROW
    WHEN (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL)
    EXECUTE FUNCTION delete_job_filters();
CREATE TRIGGER jobs_delete_filters_deleted AFTER DELETE ON jobs FOR EACH ROW
    WHEN (OLD.erased_at IS NULL)
    EXECUTE FUNCTION delete_job_filters();

REVOKE EXECUTE ON FUNCTION add_job_filters() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION delete_job_filters() FROM PUBLIC;
