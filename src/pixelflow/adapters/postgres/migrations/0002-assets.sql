-- Assets: pictures that users keep, such as a logo, and the jobs that use them.

-- The bytes of an asset are the object `assets/{asset_id}`. An asset is pending until its upload is completed; from then on it never
-- changes. A deleted asset is a tombstone without personal data: it is invisible to its owner, and its row is deleted when its bytes
-- are, and no more can arrive.
CREATE TABLE assets (
    asset_id        uuid PRIMARY KEY,
    user_id         text NOT NULL,
    name            text NOT NULL,
    bytes           bigint NOT NULL CHECK (bytes > 0),  -- declared, and signed into the upload URL
    content_type    text,
    etag            text,         -- of the object, when the upload was completed; null: pending
    created_at      timestamptz NOT NULL DEFAULT now(),
    ready_at        timestamptz,
    deleted_at      timestamptz,
    deletion_due_at timestamptz,  -- when the bytes of a deleted asset are deleted next
    CHECK ((etag IS NULL) = (ready_at IS NULL)),
    CHECK ((deleted_at IS NULL) = (deletion_due_at IS NULL))
);
CREATE UNIQUE INDEX assets_by_name ON assets (user_id, name) WHERE deleted_at IS NULL;
CREATE INDEX assets_to_delete ON assets (deletion_due_at) WHERE deletion_due_at IS NOT NULL;
CREATE INDEX assets_never_completed ON assets (created_at) WHERE etag IS NULL AND deleted_at IS NULL;

-- What the names in a job's pipeline meant when the job was created. `asset_id` references nothing: a deleted asset must not delete
-- jobs, nor wait for the end of their retention.
CREATE TABLE job_assets (
    job_id    uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    reference text NOT NULL,  -- the name or the ID, as the pipeline has it
    asset_id  uuid NOT NULL,
    PRIMARY KEY (job_id, reference)
);
CREATE INDEX job_assets_by_asset ON job_assets (asset_id);

ALTER TABLE assets     ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE job_assets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY in_tenant_scope ON assets USING (in_tenant_scope(user_id));
-- The policies of `jobs` and `assets` apply within the subqueries: a job can use no asset of another user.
CREATE POLICY in_tenant_scope ON job_assets
    USING (
        CASE current_setting('pixelflow.tenant_scope', true) WHEN 'everyone' THEN true
             ELSE EXISTS (SELECT FROM jobs WHERE jobs.job_id = job_assets.job_id) END)
    WITH CHECK (
        EXISTS (SELECT FROM jobs JOIN assets USING (user_id)
                WHERE jobs.job_id = job_assets.job_id AND assets.asset_id = job_assets.asset_id));
