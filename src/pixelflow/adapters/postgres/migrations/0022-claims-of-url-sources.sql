-- Claims that leave out the sources by URL of some users: their downloads have all places that they may have in the worker.

-- As in the baseline, with `resting`: users whose jobs with a source by URL are not claimed now.
CREATE FUNCTION claim_jobs(places integer, capabilities text[], worker text, lease interval, resting text[])
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
                  AND NOT ('url_sources' = ANY (sets.requires) AND user_id = ANY (resting))
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
              AND NOT ('url_sources' = ANY (sets.requires) AND user_id = ANY (resting))
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
          AND NOT ('url_sources' = ANY (sets.requires) AND lane.user_id = ANY (resting))
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

-- For workers of older releases.
CREATE OR REPLACE FUNCTION claim_jobs(places integer, capabilities text[], worker text, lease interval)
RETURNS TABLE (job_id uuid, user_id text, lease_token bigint, attempts integer, max_attempts integer, source_type text,
               source_key text, pipeline jsonb, traceparent text, queued_at timestamptz, due_at timestamptz,
               claimed_at timestamptz)
LANGUAGE sql AS $$
    SELECT * FROM claim_jobs(places, capabilities, worker, lease, '{}');
$$;
