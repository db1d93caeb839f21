-- The schema of the first release, by subject: API keys, jobs, queue, usage, webhooks, idempotency keys, retention, row-level
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

    -- Scheduling; the rest is in `job_queue`. Each claim increments `lease_token`, which numbers the attempts of all runs. Every
    -- write of a worker is conditional on it.
    priority     smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 2),  -- 0 high, 1 normal, 2 low
    requires     text[] NOT NULL DEFAULT '{}',  -- what a worker must be capable of to process the job
    attempts     integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL CHECK (max_attempts > 0),
    lease_token  bigint NOT NULL DEFAULT 0,

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

    CHECK ((status IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)),
    -- No statement of any release can queue a job whose source has expired.
    CONSTRAINT jobs_in_progress_have_a_source CHECK (source_expired_at IS NULL OR finished_at IS NOT NULL)
);
CREATE INDEX jobs_by_user ON jobs (user_id, created_at DESC, job_id DESC);
CREATE INDEX jobs_by_user_and_status ON jobs (user_id, status, created_at DESC, job_id DESC);

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


-- ── Queue ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Locks are waited for in this order: the job's row, its row of `job_queue`, the advisory lock of the user (only if a lane may be
-- added, or the share changes), then lanes in the order of their primary key. Statements that take a lock out of this order do not
-- wait for it: a claim takes lanes first and skips locked rows of jobs, and a start of a user who has jobs waiting skips a locked
-- lane and then takes the advisory lock.

-- Sets of capabilities that jobs require. Few rows, which are never deleted: other tables refer to them without a foreign key,
-- whose check would lock the same row in every start.
CREATE TABLE requirement_sets (
    requirement_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    requires       text[] NOT NULL UNIQUE
);

-- One row per queued or processing job. Narrow, because each job changes its row several times. No index and no predicate
-- contains `lease_until`, so the renewal of a lease is a HOT update.
CREATE TABLE job_queue (
    job_id         uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    user_id        text NOT NULL,
    requirement_id integer NOT NULL,
    state          text NOT NULL CHECK (state IN ('waiting', 'delayed', 'active')),
    priority       smallint NOT NULL,
    due_at         timestamptz NOT NULL,
    lease_token    bigint NOT NULL,  -- of the latest claim; equal to that of the job
    lease_until    timestamptz,
    worker_id      text,
    charged_ms     real NOT NULL DEFAULT 0,  -- processor time that the claim charged to the user in advance
    CHECK ((state = 'active') = (lease_until IS NOT NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX job_queue_waiting ON job_queue (user_id, requirement_id, priority, due_at, job_id) WHERE state = 'waiting';
CREATE INDEX job_queue_delayed ON job_queue (due_at) WHERE state = 'delayed';
CREATE INDEX job_queue_active ON job_queue (job_id) WHERE state = 'active';

-- The share of a user, as an operator sets it.
CREATE TABLE queue_shares (
    user_id    text PRIMARY KEY,
    weight     real NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0.01 AND 100),
    max_active integer CHECK (max_active >= 1)  -- null: the limit of the settings
);

-- Counts and the fair share of a user, one row per set of requirements. All columns but `waiting` are of the user, and equal in
-- all lanes of a user. The two generated columns keep the counts out of the indexes: an update of `waiting` alone is HOT.
CREATE TABLE queue_lanes (
    user_id        text NOT NULL,
    requirement_id integer NOT NULL,
    waiting        integer NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    active         integer NOT NULL DEFAULT 0 CHECK (active >= 0),
    max_active     integer,
    weight         real NOT NULL DEFAULT 1,
    virtual_ms     double precision NOT NULL DEFAULT 0,  -- processor time used, divided by the weight
    job_ms         real NOT NULL DEFAULT 100,            -- moving average of the processor time of an attempt
    claimable      boolean NOT NULL GENERATED ALWAYS AS
                   (waiting > 0 AND (max_active IS NULL OR active < max_active)) STORED,
    busy           boolean NOT NULL GENERATED ALWAYS AS (waiting > 0 OR active > 0) STORED,
    PRIMARY KEY (user_id, requirement_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX queue_lanes_next ON queue_lanes (requirement_id, virtual_ms) WHERE claimable;
CREATE INDEX queue_lanes_in_service ON queue_lanes ((virtual_ms - job_ms / weight)) WHERE active > 0;
CREATE INDEX queue_lanes_by_time ON queue_lanes (virtual_ms);

-- Workers that sent a sign of life recently. Each worker deletes those that did not.
CREATE TABLE workers (
    worker_id    text PRIMARY KEY,
    capabilities text[] NOT NULL,
    slots        integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz NOT NULL DEFAULT now(),
    degraded     text  -- why the worker claims nothing; null: it claims
) WITH (fillfactor = 50);

-- Returns what a job requires that no live worker has: the gap of the worker that lacks least. Null: a live worker can process
-- the job.
CREATE FUNCTION missing_capabilities(requires text[]) RETURNS text[] LANGUAGE sql STABLE
    RETURN (
        SELECT nullif(gap, '{}') FROM (
            SELECT ARRAY(SELECT unnest(requires) EXCEPT SELECT unnest(capabilities) ORDER BY 1) AS gap
            FROM workers WHERE seen_at > now() - interval '15 s'
            UNION ALL
            SELECT CASE WHEN requires = '{}' THEN '{any worker}' ELSE requires END
        ) AS gaps ORDER BY cardinality(gap) LIMIT 1);

-- Returns the virtual time at which a user joins whose lane of this set of requirements was empty: the largest start tag of the
-- users in service (Goyal, Vin, Cheng, 1996); if none is, that of the user who had most. Jobs that nobody can claim, or whose users
-- are at their limits, do not hold it back. A correction at the end of an attempt may raise a start tag far above those of the users
-- who wait, so a user joins no later than the first who waits in the same set. The lane that joins is empty, so it is not that one.
-- The time depends on the lanes of all users, so the function widens the tenant scope while it reads them; it returns nothing but
-- this number.
CREATE FUNCTION queue_joining_ms(of_requirement integer) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    former_scope text := coalesce(current_setting('pixelflow.tenant_scope', true), '');
    now_ms       double precision;
    next_ms      double precision;
BEGIN
    PERFORM set_config('pixelflow.tenant_scope', 'everyone', true);
    SELECT virtual_ms - job_ms / weight INTO now_ms FROM queue_lanes WHERE active > 0
    ORDER BY virtual_ms - job_ms / weight DESC LIMIT 1;
    IF now_ms IS NULL THEN
        SELECT virtual_ms - CASE WHEN claimable THEN job_ms / weight ELSE 0 END INTO now_ms FROM queue_lanes
        ORDER BY virtual_ms DESC LIMIT 1;
    END IF;
    SELECT virtual_ms INTO next_ms FROM queue_lanes WHERE requirement_id = of_requirement AND claimable
    ORDER BY virtual_ms LIMIT 1;
    PERFORM set_config('pixelflow.tenant_scope', former_scope, true);
    RETURN least(coalesce(now_ms, 0), next_ms);
END $$;

-- Adds to the counts of a user's lane, and to the time of all lanes of the user. A user whose lane was empty joins at the virtual
-- time of the queue.
--   charge_ms  processor time to add
--   spent_ms   processor time of an attempt that ended, for the average; null or 0: there was none
CREATE FUNCTION move_lane(of_user text, of_requirement integer, more_waiting integer, more_active integer,
                          charge_ms double precision, spent_ms double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    joined_ms double precision := '-infinity';
BEGIN
    PERFORM FROM queue_lanes WHERE user_id = of_user ORDER BY requirement_id FOR NO KEY UPDATE;
    PERFORM FROM queue_lanes WHERE user_id = of_user AND requirement_id = of_requirement AND waiting = 0 AND more_waiting > 0;
    IF FOUND THEN
        joined_ms := queue_joining_ms(of_requirement);
    END IF;
    UPDATE queue_lanes SET
        waiting    = waiting + CASE WHEN requirement_id = of_requirement THEN more_waiting ELSE 0 END,
        active     = active + more_active,
        virtual_ms = greatest(virtual_ms + charge_ms / weight, joined_ms),
        job_ms     = CASE WHEN coalesce(spent_ms, 0) = 0 THEN job_ms ELSE greatest(1, 0.8 * job_ms + 0.2 * spent_ms) END
    WHERE user_id = of_user;
END $$;

-- Adds a queued job to the queue. Call it in the statement that changes the job's status.
CREATE FUNCTION enqueue_job(queued_job uuid, default_max_active integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    job   record;
    lane  record;
    share record;
    set_id integer;
BEGIN
    SELECT user_id, requires, priority, lease_token INTO STRICT job FROM jobs WHERE job_id = queued_job;
    SELECT requirement_id INTO set_id FROM requirement_sets WHERE requires = job.requires;
    IF set_id IS NULL THEN
        INSERT INTO requirement_sets (requires) VALUES (job.requires) ON CONFLICT DO NOTHING;
        SELECT requirement_id INTO STRICT set_id FROM requirement_sets WHERE requires = job.requires;
    END IF;
    INSERT INTO job_queue (job_id, user_id, requirement_id, state, priority, due_at, lease_token)
    VALUES (queued_job, job.user_id, set_id, 'waiting', job.priority, now(), job.lease_token);
    SELECT coalesce(max(weight), 1) AS weight, coalesce(max(max_active), default_max_active) AS max_active
    INTO share FROM queue_shares WHERE user_id = job.user_id;

    -- Never waits: an UPDATE that waited for a claim which empties the lane would keep its lock and change nothing.
    UPDATE queue_lanes SET waiting = waiting + 1
    WHERE (user_id, requirement_id) IN (
        SELECT user_id, requirement_id FROM queue_lanes
        WHERE user_id = job.user_id AND requirement_id = set_id AND waiting > 0
          AND weight = share.weight AND max_active IS NOT DISTINCT FROM share.max_active
        FOR NO KEY UPDATE SKIP LOCKED
    );
    IF FOUND THEN
        RETURN;
    END IF;
    -- The lane is empty, missing or locked, or the user has another share now. The lock keeps two statements from adding lanes of one user
    -- that neither of them sees, and `set_share` from missing a new one. What was read before it may be out of date.
    PERFORM pg_advisory_xact_lock(hashtextextended(job.user_id, 0));
    INSERT INTO queue_lanes (user_id, requirement_id) VALUES (job.user_id, set_id) ON CONFLICT DO NOTHING;
    PERFORM FROM queue_lanes WHERE user_id = job.user_id ORDER BY requirement_id FOR NO KEY UPDATE;
    SELECT coalesce(max(weight), 1) AS weight, coalesce(max(max_active), default_max_active) AS max_active
    INTO share FROM queue_shares WHERE user_id = job.user_id;
    SELECT max(active) AS active, max(virtual_ms) AS virtual_ms,
           bool_or(waiting > 0 AND requirement_id = set_id) AS is_backlogged,
           coalesce(max(job_ms) FILTER (WHERE virtual_ms > 0), 100) AS job_ms
    INTO lane FROM queue_lanes WHERE user_id = job.user_id;
    IF NOT lane.is_backlogged THEN
        lane.virtual_ms := greatest(lane.virtual_ms, queue_joining_ms(set_id));
    END IF;
    UPDATE queue_lanes SET
        waiting = waiting + CASE WHEN requirement_id = set_id THEN 1 ELSE 0 END,
        active = lane.active, virtual_ms = lane.virtual_ms, job_ms = lane.job_ms,
        weight = share.weight, max_active = share.max_active
    WHERE user_id = job.user_id;
END $$;

-- Removes a job from the queue. Does nothing if the job is not in it.
--   spent_ms  processor time of the attempt; null: unknown. Then the time since the claim is charged, if it is more than what the
--             claim charged: otherwise a user who cancels long jobs gets a larger share.
CREATE FUNCTION dequeue_job(finished_job uuid, spent_ms double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    gone       record;
    elapsed_ms double precision;
BEGIN
    DELETE FROM job_queue WHERE job_id = finished_job RETURNING user_id, requirement_id, state, charged_ms INTO gone;
    IF gone.state = 'active' THEN
        SELECT 1000 * extract(epoch FROM now() - started_at) INTO elapsed_ms FROM jobs WHERE job_id = finished_job;
        PERFORM move_lane(gone.user_id, gone.requirement_id, 0, -1,
                          coalesce(spent_ms, greatest(gone.charged_ms, elapsed_ms)) - gone.charged_ms, spent_ms);
    ELSIF gone.state = 'waiting' THEN
        PERFORM move_lane(gone.user_id, gone.requirement_id, -1, 0, 0, NULL);
    END IF;
END $$;

-- Puts an active job back into the queue, due after `delay`.
--   spent_ms  processor time of the attempt; null: unknown, what the claim charged stands
CREATE FUNCTION requeue_job(released_job uuid, delay interval, spent_ms double precision)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    active record;
BEGIN
    SELECT user_id, requirement_id, charged_ms INTO active FROM job_queue
    WHERE job_id = released_job AND state = 'active' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE job_queue SET state = CASE WHEN delay > interval '0' THEN 'delayed' ELSE 'waiting' END,
                         due_at = now() + delay, lease_until = NULL, worker_id = NULL, charged_ms = 0
    WHERE job_id = released_job;
    PERFORM move_lane(active.user_id, active.requirement_id, CASE WHEN delay > interval '0' THEN 0 ELSE 1 END, -1,
                      coalesce(spent_ms, active.charged_ms) - active.charged_ms, spent_ms);
END $$;

-- Makes delayed jobs claimable that are due; returns how many.
CREATE FUNCTION promote_due_jobs(max_jobs integer) RETURNS bigint LANGUAGE sql AS $$
    WITH due AS (
        SELECT job_id FROM job_queue WHERE state = 'delayed' AND due_at <= now()
        ORDER BY due_at LIMIT max_jobs FOR UPDATE SKIP LOCKED
    ), promoted AS (
        UPDATE job_queue SET state = 'waiting' FROM due WHERE job_queue.job_id = due.job_id
        RETURNING user_id, requirement_id
    ), by_lane AS (
        SELECT user_id, requirement_id, count(*)::integer AS jobs FROM promoted GROUP BY user_id, requirement_id
        ORDER BY user_id, requirement_id
    ), moved AS MATERIALIZED (
        SELECT jobs, move_lane(user_id, requirement_id, jobs, 0, 0, NULL) FROM by_lane
    )
    SELECT coalesce(sum(jobs), 0)::bigint FROM moved;
$$;

-- Locks the lanes of these users without waiting; returns the users of whom it locked all lanes, or null.
CREATE FUNCTION lock_lanes(of_users text[]) RETURNS text[] LANGUAGE sql SET enable_seqscan = off AS $$
    WITH locked AS MATERIALIZED (
        SELECT user_id FROM queue_lanes WHERE user_id = ANY (of_users)
        ORDER BY user_id, requirement_id FOR NO KEY UPDATE SKIP LOCKED
    ), by_user AS (
        SELECT user_id, count(*) AS lanes FROM locked GROUP BY user_id
    )
    SELECT array_agg(user_id) FROM by_user
    WHERE lanes = (SELECT count(*) FROM queue_lanes WHERE queue_lanes.user_id = by_user.user_id);
$$;

-- Deletes lanes of users who have no job in the queue and no share of their own; returns how many. A deleted lane must not change when
-- its user would be served after returning: users return at the time at which they join, if they are not ahead of it. It is at least
-- the start tag of each busy user, or that of the user who had most if nobody is busy, so lanes behind these can go. The start tag is
-- what a user has without the charges of the jobs in progress, which may be corrected to nothing. Only the average of the processor
-- time is lost.
--
-- A user's advisory lock keeps `enqueue_job` from adding to a lane that is being deleted, and the locks of the lanes keep
-- `promote_due_jobs` from it. The function waits for none of them. The last statement sees what their former holders committed.
CREATE FUNCTION delete_idle_lanes(max_lanes integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    least_ms double precision;
    users    text[];
    deleted  bigint;
BEGIN
    SELECT coalesce(min(virtual_ms - greatest(job_ms, active * job_ms, charged_ms) / weight) FILTER (WHERE busy), max(virtual_ms))
    INTO least_ms
    FROM queue_lanes LEFT JOIN (
        SELECT user_id, sum(charged_ms) AS charged_ms FROM job_queue WHERE state = 'active' GROUP BY user_id
    ) AS in_progress USING (user_id);
    WITH behind AS MATERIALIZED (
        SELECT user_id FROM queue_lanes
        WHERE virtual_ms < least_ms AND user_id NOT IN (SELECT user_id FROM queue_shares)
          AND user_id NOT IN (SELECT user_id FROM job_queue WHERE state = 'delayed')
        ORDER BY virtual_ms LIMIT max_lanes
    ), by_user AS MATERIALIZED (
        SELECT DISTINCT user_id FROM behind
    )
    SELECT array_agg(user_id) INTO users FROM by_user WHERE pg_try_advisory_xact_lock(hashtextextended(user_id, 0));
    users := lock_lanes(users);
    DELETE FROM queue_lanes
    WHERE user_id = ANY (users) AND NOT busy AND virtual_ms < least_ms
      AND user_id NOT IN (SELECT user_id FROM job_queue WHERE state = 'delayed');
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;

-- Claims jobs for `places` free places of a worker: those of the users who have had least processor time, by weight (start-time
-- fair queueing: Goyal, Vin, Cheng, 1996), and of each user by priority and age. A claim charges the average of the user's
-- jobs in advance; the end of the attempt corrects it.
--
-- Reads as many lanes and jobs as there are places, however many wait. The lanes are locked before the jobs are chosen, so that
-- concurrent claims can't exceed a user's limit of active jobs. A claim never waits for a lock: if all lanes that are next are
-- locked, it tries again for 50 ms, which is longer than most statements hold them, and then serves users whose lanes are free.
-- A single row of nulls: there were jobs, but it got none; call it again. Sequential scans are disabled, because the statistics
-- of a queue are often out of date.
CREATE FUNCTION claim_jobs(places integer, capabilities text[], worker text, lease interval)
RETURNS TABLE (job_id uuid, user_id text, lease_token bigint, attempts integer, max_attempts integer, source_type text,
               source_key text, pipeline jsonb, traceparent text, queued_at timestamptz, due_at timestamptz,
               claimed_at timestamptz)
LANGUAGE plpgsql SET enable_seqscan = off SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
    next  text[];
    users text[];
BEGIN
    FOR try IN 1..25 LOOP
        -- One lane per user and set of requirements, so as many lanes of each set are enough.
        SELECT array_agg(user_id) INTO next FROM (
            SELECT lane.user_id
            FROM requirement_sets AS sets CROSS JOIN LATERAL (
                SELECT user_id, virtual_ms FROM queue_lanes
                WHERE requirement_id = sets.requirement_id AND claimable
                ORDER BY virtual_ms LIMIT places
            ) AS lane
            WHERE sets.requires <@ capabilities
            GROUP BY lane.user_id ORDER BY min(lane.virtual_ms) LIMIT places
        ) AS least;
        IF next IS NULL THEN
            RETURN;
        END IF;
        users := lock_lanes(next);
        EXIT WHEN users IS NOT NULL;
        PERFORM pg_sleep(0.002);
    END LOOP;
    IF users IS NULL THEN
        SELECT array_agg(DISTINCT lane.user_id) INTO next
        FROM requirement_sets AS sets CROSS JOIN LATERAL (
            SELECT user_id FROM queue_lanes
            WHERE requirement_id = sets.requirement_id AND claimable
            ORDER BY virtual_ms LIMIT places FOR NO KEY UPDATE SKIP LOCKED
        ) AS lane
        WHERE sets.requires <@ capabilities;
        users := lock_lanes(next);
        IF users IS NULL THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    RETURN QUERY
    WITH lanes AS (
        -- A few more than there are places, because a job may be locked by its owner.
        SELECT lane.*, coalesce(lane.max_active - lane.active, places + 4) AS room
        FROM queue_lanes AS lane JOIN requirement_sets AS sets USING (requirement_id)
        WHERE lane.user_id = ANY (users) AND lane.claimable AND sets.requires <@ capabilities
    ), candidates AS (
        SELECT head.job_id, lanes.job_ms, lanes.room, lanes.virtual_ms, lanes.job_ms / lanes.weight AS step,
               row_number() OVER (PARTITION BY lanes.user_id
                                  ORDER BY head.priority, head.due_at, head.job_id) - 1 AS place
        FROM lanes CROSS JOIN LATERAL (
            SELECT job_id, priority, due_at FROM job_queue
            WHERE user_id = lanes.user_id AND requirement_id = lanes.requirement_id AND state = 'waiting'
            ORDER BY priority, due_at, job_id LIMIT least(lanes.room, places + 4)
        ) AS head
    ), first AS MATERIALIZED (
        SELECT job_id, job_ms, virtual_ms + step * place AS tag FROM candidates WHERE place < room
        ORDER BY tag LIMIT places + 4
    ), chosen AS MATERIALIZED (
        SELECT first.job_id, first.job_ms
        FROM first JOIN job_queue AS queue ON queue.job_id = first.job_id JOIN jobs AS job ON job.job_id = first.job_id
        WHERE queue.state = 'waiting' AND job.status = 'queued'
        ORDER BY first.tag LIMIT places
        FOR NO KEY UPDATE OF queue, job SKIP LOCKED
    ), claimed AS (
        UPDATE jobs AS job SET status = 'processing', attempts = job.attempts + 1, lease_token = job.lease_token + 1,
                               started_at = now()
        FROM chosen WHERE job.job_id = chosen.job_id
        RETURNING job.job_id, job.user_id, job.lease_token, job.attempts, job.max_attempts, job.source_type,
                  job.source_key, job.pipeline, job.traceparent, job.queued_at, chosen.job_ms
    ), leased AS (
        UPDATE job_queue AS queue SET state = 'active', lease_token = claimed.lease_token, lease_until = now() + lease,
                                      worker_id = worker, charged_ms = claimed.job_ms
        FROM claimed WHERE queue.job_id = claimed.job_id
        RETURNING queue.job_id, queue.user_id, queue.requirement_id, queue.charged_ms, queue.due_at
    ), charged AS (
        UPDATE queue_lanes AS lane SET
            waiting    = lane.waiting - (SELECT count(*) FROM leased WHERE leased.user_id = lane.user_id
                                                                  AND leased.requirement_id = lane.requirement_id),
            active     = lane.active + of_user.jobs,
            virtual_ms = lane.virtual_ms + of_user.charged_ms / lane.weight
        FROM (SELECT user_id, count(*)::integer AS jobs, sum(charged_ms) AS charged_ms FROM leased GROUP BY user_id) AS of_user
        WHERE lane.user_id = of_user.user_id
    ), opened AS (
        INSERT INTO attempts (job_id, attempt, worker_id) SELECT job_id, lease_token, worker FROM claimed
    )
    SELECT claimed.job_id, claimed.user_id, claimed.lease_token, claimed.attempts, claimed.max_attempts,
           claimed.source_type, claimed.source_key, claimed.pipeline, claimed.traceparent, claimed.queued_at, leased.due_at,
           now()
    FROM claimed JOIN leased ON leased.job_id = claimed.job_id;
    IF NOT FOUND THEN
        RETURN NEXT;
    END IF;
END $$;


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

-- Processor time of attempts that failed, by user and day. It is shown beside the usage and not billed.
CREATE TABLE failed_usage (
    user_id         text NOT NULL,
    day             date NOT NULL,  -- in UTC
    attempts        bigint NOT NULL,
    compute_time_ms bigint NOT NULL,
    PRIMARY KEY (user_id, day)
);


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
--
-- It runs as the owner of the tables, because a worker must not write events: they name the URL that is called. Row-level security
-- applies to the owner, too. `migrate` sets the search path to the schema of the tables.
CREATE FUNCTION make_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
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
REVOKE EXECUTE ON FUNCTION make_event() FROM PUBLIC;

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
-- the settings allow, and the slowest transfer, an hour each. It runs as the owner of the tables, as `make_event` does.
CREATE FUNCTION add_orphan_deletion() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO pending_deletions (job_id, kind, attempt, due_at)
    VALUES (NEW.job_id, 'orphan', NEW.attempt, now() + interval '2 hours')
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_add_orphan_deletion AFTER UPDATE OF outcome ON attempts FOR EACH ROW
    WHEN (NEW.outcome <> 'succeeded' AND NEW.outcome IS DISTINCT FROM OLD.outcome)
    EXECUTE FUNCTION add_orphan_deletion();
REVOKE EXECUTE ON FUNCTION add_orphan_deletion() FROM PUBLIC;

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

-- The setting `pixelflow.tenant_scope` limits the rows that a connection can read and write, in addition to the conditions of its statements:
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
ALTER TABLE requirement_sets  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE job_queue         ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE queue_shares      ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE queue_lanes       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE workers           ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE failed_usage      ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_logs        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events            ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE deliveries        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook_secrets   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE pending_deletions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY in_tenant_scope ON api_keys          USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON jobs              USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON job_queue         USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON queue_shares      USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON queue_lanes       USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON failed_usage      USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON usage_logs        USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON events            USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON deliveries        USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON webhook_secrets   USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON idempotency_keys  USING (in_tenant_scope(user_id));

-- These tables hold nothing of any user. Every user's jobs read them; a start can add a set of requirements.
CREATE POLICY select_all ON requirement_sets FOR SELECT USING (true);
CREATE POLICY insert_all ON requirement_sets FOR INSERT WITH CHECK (true);
CREATE POLICY select_all ON workers FOR SELECT USING (true);
CREATE POLICY in_tenant_scope ON workers USING (current_setting('pixelflow.tenant_scope', true) = 'everyone');

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
