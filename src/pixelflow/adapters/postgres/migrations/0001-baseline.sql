-- The schema of the first release, by subject: API keys, jobs, usage, webhooks, idempotency keys, retention, row-level
-- security.


-- ── API keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE api_keys (
    key_id         text PRIMARY KEY,
    user_id        text NOT NULL,
    name           text NOT NULL,
    secret_hash    bytea NOT NULL,
    scopes         text[] NOT NULL,
    rate_limit     integer CHECK (rate_limit >= 1),  -- requests of each class per window; null: the user's shared limit
    rate_limit_key text,  -- names the buckets: the id of this key, or of the key that created it
    created_at     timestamptz NOT NULL DEFAULT now(),
    last_used_at   timestamptz,
    expires_at     timestamptz,
    revoked_at     timestamptz,
    CHECK ((rate_limit IS NULL) = (rate_limit_key IS NULL))
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at DESC);


-- ── Jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE jobs (
    job_id  uuid PRIMARY KEY,
    user_id text NOT NULL,
    status  text NOT NULL DEFAULT 'created'
            CHECK (status IN ('created', 'queued', 'processing', 'succeeded', 'failed', 'canceled')),
    run     integer NOT NULL DEFAULT 1,  -- a manual retry starts a new run

    -- The request.
    source_type           text NOT NULL CHECK (source_type IN ('s3_presigned', 'local_file')),
    source_key            text NOT NULL,
    declared_bytes        bigint,
    declared_content_type text,
    pipeline              jsonb NOT NULL,
    metadata              jsonb NOT NULL DEFAULT '{}',
    webhook_url           text,
    traceparent           text,

    -- Facts about the source, as measured by the worker.
    source_bytes  bigint,
    source_sha256 text,
    source_format text,
    source_width  integer,
    source_height integer,

    -- Scheduling. A queued job is due at `run_at`. `task_id` is the id of its message; `relayed_at` is when that message was
    -- last known to be on the queue. Each claim increments `lease_token`, and every write of a worker is conditional on it.
    attempts     integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL CHECK (max_attempts > 0),
    run_at       timestamptz,
    task_id      uuid,
    relayed_at   timestamptz,
    lease_token  bigint NOT NULL DEFAULT 0,
    lease_until  timestamptz,

    error       jsonb,
    created_at  timestamptz NOT NULL DEFAULT now(),
    queued_at   timestamptz,
    started_at  timestamptz,
    finished_at timestamptz,

    -- From these times on, the job's owner can't use the files, even if the objects still exist.
    source_expired_at  timestamptz,
    outputs_expired_at timestamptz,
    -- An erased job is a tombstone: invisible to its owner, and deleted when no more files of it can arrive.
    erased_at timestamptz,

    CHECK (status <> 'queued' OR (run_at IS NOT NULL AND task_id IS NOT NULL)),
    CHECK ((status = 'processing') = (lease_until IS NOT NULL)),
    CHECK ((status IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)),
    -- No statement of any release can queue a job whose source has expired.
    CONSTRAINT jobs_in_progress_have_a_source CHECK (source_expired_at IS NULL OR finished_at IS NOT NULL)
);
CREATE INDEX jobs_by_user ON jobs (user_id, created_at DESC, job_id DESC);
CREATE INDEX jobs_by_user_and_status ON jobs (user_id, status, created_at DESC, job_id DESC);
-- Jobs without a message come before jobs whose message was sent long ago.
CREATE INDEX jobs_queued ON jobs (relayed_at NULLS FIRST, run_at) WHERE status = 'queued';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE status = 'processing';

CREATE TABLE attempts (
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt    bigint NOT NULL,  -- the lease token of the claim, so it is unique; it names the folder of the outputs
    worker_id  text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    outcome    text CHECK (outcome IN ('succeeded', 'failed', 'retried', 'lost', 'canceled')),
    error      jsonb,
    stages     jsonb NOT NULL DEFAULT '{}',  -- milliseconds by name
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


-- ── Usage ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Users are billed by these rows. They outlive their jobs, so `job_id` references nothing.
CREATE TABLE usage_logs (
    job_id           uuid PRIMARY KEY,
    user_id          text NOT NULL,
    pixels_processed bigint NOT NULL CHECK (pixels_processed >= 0),
    bytes_saved      bigint NOT NULL CHECK (bytes_saved >= 0),
    compute_time_ms  bigint NOT NULL CHECK (compute_time_ms >= 1),
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX usage_logs_by_user ON usage_logs (user_id, created_at);
-- For the usage of all users. Rows are stored in the order of their creation, so a summary of every few pages is enough.
CREATE INDEX usage_logs_by_time ON usage_logs USING brin (created_at);


-- ── Webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE events (
    event_id   text PRIMARY KEY,  -- the `webhook-id` header: the same for every attempt and replay
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    run        integer NOT NULL,
    user_id    text NOT NULL,
    type       text NOT NULL CHECK (type IN ('job.completed', 'job.failed', 'job.canceled')),
    url        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),

    -- Scheduling. A pending event is due at `next_attempt_at`; a dispatcher holds it until `lease_until`. Each replay
    -- increments `generation`: the outcome of an attempt that began before the replay is ignored.
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'exhausted', 'refused')),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    lease_until     timestamptz,
    -- The host of the URL, without its port. Concurrent deliveries are limited per host.
    host            text NOT NULL
                    GENERATED ALWAYS AS (coalesce(substring(lower(url) FROM '^[a-z]+://(\[[^]]*\]|[^/:?#]*)'), '')) STORED,
    generation      integer NOT NULL DEFAULT 0,
    UNIQUE (job_id, run, type)
);
CREATE INDEX events_pending ON events (host, next_attempt_at) WHERE status = 'pending';
-- Due events of all hosts: a dispatcher with little to do need not look at each host.
CREATE INDEX events_due ON events (next_attempt_at) WHERE status = 'pending';
CREATE INDEX events_leased ON events (lease_until) WHERE lease_until IS NOT NULL;

-- A trigger creates the event in the statement that ends the run, so no code path can omit it. Jobs without a webhook URL have
-- no events.
CREATE FUNCTION make_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (event_id, job_id, run, user_id, type, url)
    VALUES ('msg_' || replace(gen_random_uuid()::text, '-', ''), NEW.job_id, NEW.run, NEW.user_id,
            CASE NEW.status WHEN 'succeeded' THEN 'job.completed' ELSE 'job.' || NEW.status END, NEW.webhook_url);
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_make_event AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'failed', 'canceled') AND OLD.status <> NEW.status
          AND NEW.webhook_url IS NOT NULL AND NEW.erased_at IS NULL)
    EXECUTE FUNCTION make_event();

CREATE TABLE deliveries (
    delivery_id uuid PRIMARY KEY,
    event_id    text NOT NULL REFERENCES events ON DELETE CASCADE,
    user_id     text NOT NULL,
    attempt     integer NOT NULL CHECK (attempt > 0),  -- restarts at 1 with a replay
    started_at  timestamptz NOT NULL,
    latency_ms  integer NOT NULL CHECK (latency_ms >= 0),
    -- refused: no further attempt, because the receiver answered 410 or PixelFlow does not call the address.
    outcome     text NOT NULL CHECK (outcome IN ('delivered', 'retried', 'exhausted', 'refused')),
    status_code integer,  -- of the receiver's response; null: there was none
    error       jsonb,    -- code and message, if there was no response
    response_excerpt text
);
CREATE INDEX deliveries_by_event ON deliveries (event_id, started_at DESC);

CREATE TABLE webhook_secrets (
    secret_id   uuid PRIMARY KEY,
    user_id     text NOT NULL,
    ciphertext  bytea NOT NULL,  -- encrypted with a key from the settings, bound to the user
    created_at  timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz      -- null: the current secret
);
CREATE UNIQUE INDEX webhook_secrets_current ON webhook_secrets (user_id) WHERE valid_until IS NULL;
CREATE INDEX webhook_secrets_by_user ON webhook_secrets (user_id, created_at DESC);


-- ── Idempotency keys ──────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE idempotency_keys (
    user_id     text NOT NULL,
    key         text NOT NULL,
    fingerprint bytea NOT NULL,  -- SHA-256 of the method, path, query and body
    job_id      uuid,            -- of the job in the response
    job_erased  boolean NOT NULL DEFAULT false,  -- then the stored response is deleted
    resource_id uuid NOT NULL,   -- of the resource that the request creates: the same if it is repeated after a crash
    holder      uuid NOT NULL,   -- the request that holds the lease; only it may store the response
    lease_until timestamptz NOT NULL,
    status      smallint,        -- of the response; null: there is none yet
    ciphertext  bytea,           -- body of the response, encrypted with a key from the settings, bound to user and key
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key),
    CHECK ((status IS NULL) = (ciphertext IS NULL)),
    CHECK (NOT job_erased OR status IS NULL)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job_id) WHERE job_id IS NOT NULL;


-- ── Retention ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Files to be deleted (docs/adr/0030-one-table-of-pending-deletions.md):
--   job     all files of an erased job, at once and again when no more can arrive; then the job's row
--   source  the uploaded source of a job
--   output  the outputs of a job
--   orphan  everything that an attempt stored which did not succeed
CREATE TABLE pending_deletions (
    job_id  uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    kind    text NOT NULL CHECK (kind IN ('job', 'source', 'output', 'orphan')),
    attempt bigint NOT NULL,  -- for outputs and orphans; otherwise 0
    due_at  timestamptz NOT NULL,
    PRIMARY KEY (job_id, kind, attempt)
);
-- By kind: the files of erased jobs must not wait behind the backlog of another kind.
CREATE INDEX pending_deletions_due ON pending_deletions (kind, due_at);

-- No output row names the files of an attempt that did not succeed. A trigger records them in the statement that ends the
-- attempt. They are due when the worker, which may still be running, can store nothing any more: after the longest lease that
-- the settings allow, and the slowest transfer, an hour each.
CREATE FUNCTION add_orphan_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_deletions (job_id, kind, attempt, due_at)
    VALUES (NEW.job_id, 'orphan', NEW.attempt, now() + interval '2 hours')
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_add_orphan_deletion AFTER UPDATE OF outcome ON attempts FOR EACH ROW
    WHEN (NEW.outcome <> 'succeeded' AND NEW.outcome IS DISTINCT FROM OLD.outcome)
    EXECUTE FUNCTION add_orphan_deletion();

-- Each of these contains the rows that have yet to expire, oldest first; expired rows leave the index.
CREATE INDEX jobs_never_started ON jobs (created_at) WHERE status = 'created';
CREATE INDEX jobs_with_source ON jobs (finished_at)
    WHERE finished_at IS NOT NULL AND source_expired_at IS NULL AND erased_at IS NULL AND source_type = 's3_presigned';
CREATE INDEX jobs_with_outputs ON jobs (finished_at)
    WHERE finished_at IS NOT NULL AND outputs_expired_at IS NULL AND erased_at IS NULL AND status = 'succeeded';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL AND erased_at IS NULL;
-- The age of an event counts from when it was last due; that of an attempt from its start, which never changes.
CREATE INDEX events_finished ON events (next_attempt_at) WHERE status <> 'pending';
CREATE INDEX attempts_by_age ON attempts (started_at);


-- ── Row-level security ────────────────────────────────────────────────────────────────────────────────────────────────────

-- The setting `pixelflow.tenant_scope` limits the rows that a connection can read and write, whatever its statements ask for:
-- `everyone`, `user:<user_id>`, `key:<key_id>`, or empty for none (docs/adr/0011-row-level-security.md).
--
-- CASE, not OR: the planner estimates that an OR of comparisons with the owner's column matches hardly any row, and then
-- sorts all jobs of a user instead of reading the newest twenty from the index. To be inlined, the function must be a single
-- expression without a search path of its own.
CREATE FUNCTION in_tenant_scope(owner text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE current_setting('pixelflow.tenant_scope', true)
               WHEN 'everyone' THEN true
               ELSE 'user:' || owner = current_setting('pixelflow.tenant_scope', true)
           END;

-- FORCE applies the policies to the owner of the tables, too: that is the role which PixelFlow connects as.
ALTER TABLE api_keys          ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE jobs              ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE attempts          ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE outputs           ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_logs        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events            ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE deliveries        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook_secrets   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE pending_deletions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY in_tenant_scope ON api_keys          USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON jobs              USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON usage_logs        USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON events            USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON deliveries        USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON webhook_secrets   USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON idempotency_keys  USING (in_tenant_scope(user_id));

-- These tables have no user of their own. The policy of `jobs` applies within the subquery.
CREATE POLICY in_tenant_scope ON attempts USING (
    CASE current_setting('pixelflow.tenant_scope', true) WHEN 'everyone' THEN true
         ELSE EXISTS (SELECT FROM jobs WHERE jobs.job_id = attempts.job_id) END);
CREATE POLICY in_tenant_scope ON outputs USING (
    CASE current_setting('pixelflow.tenant_scope', true) WHEN 'everyone' THEN true
         ELSE EXISTS (SELECT FROM jobs WHERE jobs.job_id = outputs.job_id) END);
CREATE POLICY in_tenant_scope ON pending_deletions USING (
    CASE current_setting('pixelflow.tenant_scope', true) WHEN 'everyone' THEN true
         ELSE EXISTS (SELECT FROM jobs WHERE jobs.job_id = pending_deletions.job_id) END);

-- The user of a key is unknown until the key's row is read, so a scope of one key shows that row of `api_keys` only.
CREATE POLICY select_by_key ON api_keys FOR SELECT USING (current_setting('pixelflow.tenant_scope', true) = 'key:' || key_id);
CREATE POLICY update_by_key ON api_keys FOR UPDATE USING (current_setting('pixelflow.tenant_scope', true) = 'key:' || key_id);

-- Returns the row of a key in one statement: sets the scope to that row, reads it, and restores the connection's scope
-- (docs/adr/0027-find-a-key-by-a-function.md). It runs with the rights of its caller, so the policies apply to it. An error
-- aborts the transaction, which also restores the scope.
CREATE FUNCTION find_api_key(key_id text) RETURNS SETOF api_keys LANGUAGE plpgsql ROWS 1 AS $$
DECLARE
    former_scope text := coalesce(current_setting('pixelflow.tenant_scope', true), '');
BEGIN
    PERFORM set_config('pixelflow.tenant_scope', 'key:' || key_id, true);
    RETURN QUERY SELECT * FROM api_keys WHERE api_keys.key_id = find_api_key.key_id;
    PERFORM set_config('pixelflow.tenant_scope', former_scope, true);
END $$;
