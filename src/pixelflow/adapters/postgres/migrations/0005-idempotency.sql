-- What was asked under an `Idempotency-Key`, and what was answered.

CREATE TABLE idempotency_keys (
    user_id     text NOT NULL,
    key         text NOT NULL,
    fingerprint bytea NOT NULL,  -- SHA-256 of the method, the path, the query and the body
    job_id      uuid,            -- of the job that the answer tells of
    job_erased  boolean NOT NULL DEFAULT false,  -- since then: there is no answer any more
    resource_id uuid NOT NULL,   -- of what the request creates: the same one if it has to be done again after a crash
    holder      uuid NOT NULL,   -- whoever is at it; only they may write the answer
    lease_until timestamptz NOT NULL,
    status      smallint,        -- of the answer; null: there is none yet
    sealed      bytea,           -- its body, encrypted with a key from the settings, bound to the user and the key
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key),
    CHECK ((status IS NULL) = (sealed IS NULL)),
    CHECK (NOT job_erased OR status IS NULL)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job_id) WHERE job_id IS NOT NULL;
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY within_reach ON idempotency_keys USING (is_within_reach(user_id));
