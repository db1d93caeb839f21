-- Jobs that start by themselves when their source is there; and sources by URL.

-- `source_url` may hold a secret in its query. It is null for other types of sources, and `source_key` is empty for this one.
ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_source_type_check,
                 ADD CONSTRAINT jobs_source_type_check
                     CHECK (source_type IN ('s3_presigned', 'local_file', 'job', 'url')) NOT VALID,
                 ADD COLUMN source_url text,
                 ADD COLUMN auto_start boolean NOT NULL DEFAULT false;

-- A row per job whose source a controller waits for. Narrow, since each check changes it. A controller removes the row when the job has
-- left the status `created`, however that happened: no other statement needs to know this table.
CREATE TABLE awaited_sources (
    job_id        uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    user_id       text NOT NULL,
    awaited_since timestamptz NOT NULL DEFAULT now(),
    awaited_until timestamptz NOT NULL,  -- then no upload can arrive any more
    next_check_at timestamptz NOT NULL,  -- moved ahead while a controller checks the source
    traceparent   text                   -- of the request that created the job
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX awaited_sources_due ON awaited_sources (next_check_at);
CREATE INDEX awaited_sources_by_user ON awaited_sources (user_id, next_check_at);

ALTER TABLE awaited_sources ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY in_tenant_scope ON awaited_sources USING (in_tenant_scope(user_id));
