-- Presets: named, versioned pipelines of users; and the preset that a job was created with.

-- A row outlives the preset: the versions of a later preset of this name count on, so that `avatar@2` never means two pipelines.
CREATE TABLE presets (
    user_id      text NOT NULL,
    name         text NOT NULL,
    last_version integer NOT NULL,
    deleted_at   timestamptz,
    PRIMARY KEY (user_id, name)
);

CREATE TABLE preset_versions (
    user_id     text NOT NULL,
    name        text NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    description text,
    parameters  jsonb NOT NULL,  -- as the user declared them
    pipeline    jsonb NOT NULL,  -- with placeholders
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, name, version)
);

ALTER TABLE presets         ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE preset_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY in_tenant_scope ON presets         USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON preset_versions USING (in_tenant_scope(user_id));

-- They reference nothing: a job keeps what it used. `pipeline` of a job is the pipeline that was made of the preset.
ALTER TABLE jobs ADD COLUMN preset text,
                 ADD COLUMN preset_version integer,
                 ADD COLUMN preset_parameters jsonb NOT NULL DEFAULT '{}';
