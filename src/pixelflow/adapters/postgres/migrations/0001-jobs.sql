-- Jobs, their attempts and outputs, what they are billed by, and the keys that may ask for them.

CREATE TABLE api_keys (
    key_id       text PRIMARY KEY,
    user_id      text NOT NULL,
    name         text NOT NULL,
    secret_hash  bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    expires_at   timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at DESC);

CREATE TABLE jobs (
    job_id       uuid PRIMARY KEY,
    user_id      text NOT NULL,
    status       text NOT NULL DEFAULT 'created'
                 CHECK (status IN ('created', 'queued', 'processing', 'succeeded', 'failed', 'canceled')),

    -- What was asked for.
    source_type           text NOT NULL CHECK (source_type IN ('s3_presigned', 'local_file')),
    source_key            text NOT NULL,
    declared_bytes        bigint,
    declared_content_type text,
    pipeline              jsonb NOT NULL,
    metadata              jsonb NOT NULL DEFAULT '{}',
    webhook_url           text,

    -- What was found in the source.
    source_bytes  bigint,
    source_sha256 text,
    source_format text,
    source_width  integer,
    source_height integer,

    -- Whose turn it is. `run_at` is when it is due; `task_id` names the message that stands for a queued row, and
    -- `relayed_at` when that message was last known to be there; a worker's every write carries `lease_token`.
    attempts     integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL CHECK (max_attempts > 0),
    run_at       timestamptz,
    task_id      uuid,
    relayed_at   timestamptz,
    lease_token  bigint NOT NULL DEFAULT 0,
    lease_until  timestamptz,

    error        jsonb,
    traceparent  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    queued_at    timestamptz,
    started_at   timestamptz,
    finished_at  timestamptz,

    CHECK (status <> 'queued' OR (run_at IS NOT NULL AND task_id IS NOT NULL)),
    CHECK ((status = 'processing') = (lease_until IS NOT NULL)),
    CHECK ((status IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL))
);
CREATE INDEX jobs_by_user ON jobs (user_id, created_at DESC, job_id DESC);
CREATE INDEX jobs_by_user_and_status ON jobs (user_id, status, created_at DESC, job_id DESC);
CREATE INDEX jobs_queued ON jobs (run_at) WHERE status = 'queued';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE status = 'processing';

CREATE TABLE attempts (
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt    bigint NOT NULL,  -- the lease token of the claim, so never used twice; it names the folder of the outputs
    worker_id  text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    outcome    text CHECK (outcome IN ('succeeded', 'failed', 'retried', 'lost', 'canceled')),
    error      jsonb,
    stages     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (job_id, attempt)
);

CREATE TABLE outputs (
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    step_id    text NOT NULL,
    position   integer NOT NULL,
    action     text NOT NULL,
    format     text NOT NULL,
    object_key text NOT NULL,
    bytes      bigint NOT NULL,
    width      integer NOT NULL,
    height     integer NOT NULL,
    sha256     text NOT NULL,
    PRIMARY KEY (job_id, step_id)
);

-- Outlives the job's row: it is what a user is billed by.
CREATE TABLE usage_logs (
    job_id           uuid PRIMARY KEY,
    user_id          text NOT NULL,
    pixels_processed bigint NOT NULL CHECK (pixels_processed >= 0),
    bytes_saved      bigint NOT NULL CHECK (bytes_saved >= 0),
    compute_time_ms  bigint NOT NULL CHECK (compute_time_ms >= 1),
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX usage_logs_by_user ON usage_logs (user_id, created_at);
