-- Batches: jobs with what they have in common. `job` is the request that all of them begin with, as its owner sent it.

CREATE TABLE batches (
    batch_id    uuid PRIMARY KEY,
    user_id     text NOT NULL,
    name        text,
    job         jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    canceled_at timestamptz  -- it takes no more jobs
);
CREATE INDEX batches_by_user ON batches (user_id, created_at DESC, batch_id DESC);
CREATE INDEX batches_by_age ON batches (created_at);
ALTER TABLE batches ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY in_tenant_scope ON batches USING (in_tenant_scope(user_id));
