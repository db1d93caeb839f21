"""Fills a database with the jobs of many users over ninety days, in SQL: most of them finished, the newest not.

History and queue grow with the number of jobs. Jobs in process, webhooks that are due or will be retried, and pending
erasures are the same at every size.
"""

from __future__ import annotations

from typing import Any

import psycopg

USERS = 1000
HEAVY = "user-0"
"""The user of a tenth of all jobs."""
STEADY = "steady"
"""A user who has the same 300 jobs at every size."""
STEADY_JOBS = 300
QUEUED_SHARE = 0.02
PROCESSING, CREATED = 64, 500
PENDING = 5000
"""Webhooks that will be retried later, each to another host, as an attacker might arrange."""
DUE = 40

_JOBS = """
INSERT INTO jobs (job_id, user_id, status, source_type, source_key, declared_bytes, declared_content_type, pipeline,
                  metadata, webhook_url, source_bytes, source_sha256, source_format, source_width, source_height,
                  attempts, max_attempts, requires, lease_token, error, created_at,
                  queued_at, started_at, finished_at)
SELECT id, user_id, status, 's3_presigned', 'uploads/' || id || '/source', 2500000, 'image/jpeg',
       '[{"id": "small", "action": "resize", "width": 640, "format": "webp"}]',
       '{"sku": "A-17"}', CASE WHEN n %% 3 = 0 THEN 'https://hooks' || n %% 300 || '.example/done' END, 2500000,
       md5(n::text) || md5(n::text), 'jpeg', 2400, 1600, CASE WHEN is_started THEN 1 ELSE 0 END, 5,
       '{contract/1}', CASE WHEN is_started THEN 1 ELSE 0 END,
       CASE status WHEN 'failed' THEN '{"code": "undecodable", "message": "damaged", "step_id": null}'::jsonb END,
       at, CASE WHEN status <> 'created' THEN at END, CASE WHEN is_started THEN at END, CASE WHEN is_over THEN at END
FROM (
    SELECT n, at, user_id, status, status IN ('succeeded', 'failed', 'canceled') AS is_over,
           status IN ('succeeded', 'failed', 'processing') AS is_started,
           -- Like those of `new_id`: in the order of their creation.
           (substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7' || substr(gen_random_uuid()::text, 16))::uuid AS id
    FROM (
        SELECT n, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms,
               CASE WHEN n %% (%(jobs)s / %(steady_jobs)s) = 0 THEN %(steady)s
                    ELSE 'user-' || floor(%(users)s * power(random(), 3)) END AS user_id,
               CASE WHEN n > %(jobs)s - %(queued)s THEN 'queued'
                    WHEN n > %(jobs)s - %(queued)s - %(processing)s THEN 'processing'
                    WHEN n > %(jobs)s - %(queued)s - %(processing)s - %(created)s THEN 'created'
                    WHEN random() < 0.02 THEN 'failed' WHEN random() < 0.01 THEN 'canceled'
                    ELSE 'succeeded' END AS status
        FROM (SELECT n, now() - interval '90 days' * (1 - n / %(jobs)s::float) AS at
              FROM generate_series(1, %(jobs)s) AS n) AS numbered
    ) AS with_status
) AS made
"""
_REST = (
    """INSERT INTO attempts (job_id, attempt, worker_id, started_at, ended_at, outcome, stages)
       SELECT job_id, 1, 'worker', started_at, finished_at, CASE WHEN status <> 'processing' THEN status END,
              '{"fetch": 4, "wait": 0, "transform": 31, "store": 5}'
       FROM jobs WHERE started_at IS NOT NULL""",
    """INSERT INTO outputs
       SELECT job_id, 'step' || n, n, 'resize', 'webp', 'outputs/' || job_id || '/1/step' || n || '.webp', 58982, 640,
              427, source_sha256
       FROM jobs CROSS JOIN LATERAL generate_series(1, 1 + lease_token %% 2) AS n WHERE status = 'succeeded'""",
    """INSERT INTO usage_logs SELECT job_id, user_id, 273280, 2441018, 31, finished_at
       FROM jobs WHERE status = 'succeeded' ORDER BY finished_at""",
    """INSERT INTO events (event_id, job_id, run, user_id, type, url, created_at, status, attempts, next_attempt_at)
       SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), job_id, 1, user_id,
              CASE status WHEN 'succeeded' THEN 'job.completed' ELSE 'job.' || status END, webhook_url, finished_at,
              'delivered', 1, finished_at
       FROM jobs WHERE webhook_url IS NOT NULL AND finished_at IS NOT NULL""",
    """INSERT INTO deliveries (delivery_id, event_id, user_id, attempt, started_at, latency_ms, outcome, status_code)
       SELECT gen_random_uuid(), event_id, user_id, 1, created_at, 40, 'delivered', 204 FROM events""",
    # Pending events, of the newest finished jobs.
    """WITH newest AS (
           SELECT event_id, row_number() OVER (ORDER BY created_at DESC) AS n FROM events ORDER BY created_at DESC
           LIMIT least(%(pending)s, (SELECT count(*) / 2 FROM events)))
       UPDATE events SET status = 'pending', attempts = 3, url = 'https://gone' || n || '.example/done',
              next_attempt_at = CASE WHEN n <= %(due)s THEN now() - interval '1 s' ELSE now() + n * interval '10 s' END
       FROM newest WHERE newest.event_id = events.event_id""",
    """WITH canceled AS (SELECT job_id FROM jobs WHERE status = 'canceled' ORDER BY created_at DESC LIMIT 20),
            erased AS (UPDATE jobs SET erased_at = now() FROM canceled WHERE jobs.job_id = canceled.job_id
                       RETURNING jobs.job_id, source_sha256)
       INSERT INTO pending_deletions (job_id, kind, attempt, due_at)
       SELECT job_id, 'job', 0, now() + (ascii(source_sha256) %% 2) * interval '1 day' FROM erased""",
    """INSERT INTO awaited_sources (job_id, user_id, awaited_until, next_check_at)
       SELECT job_id, user_id, now() + interval '1 h', now() - random() * interval '1 min'
       FROM jobs WHERE status = 'created'""",
    """WITH waiting AS (SELECT gen_random_uuid() AS batch_id, job_id, user_id FROM jobs
                        WHERE status IN ('created', 'processing')),
            added AS (UPDATE jobs SET batch_id = waiting.batch_id FROM waiting WHERE jobs.job_id = waiting.job_id)
       INSERT INTO batches (batch_id, user_id, job, closed_at, next_check_at)
       SELECT batch_id, user_id, '{}', now() - interval '1 h', now() FROM waiting""",
    """INSERT INTO batches (batch_id, user_id, job) SELECT gen_random_uuid(), %(heavy)s, '{}'""",
    """INSERT INTO batches (batch_id, user_id, job, closed_at, finished_at)
       SELECT gen_random_uuid(), 'user-' || n %% %(users)s, '{}', now(), now()
       FROM generate_series(1, %(jobs)s / 10) AS n""",
    # A quarter of them are old and have no jobs, as after the retention of jobs; some have an event.
    """UPDATE batches SET created_at = now() - interval '100 days'
       WHERE finished_at IS NOT NULL AND hashtext(batch_id::text) %% 4 = 0""",
    """WITH first AS (SELECT batch_id, user_id FROM batches WHERE finished_at IS NOT NULL ORDER BY batch_id LIMIT 200),
            made AS (INSERT INTO events (event_id, batch_id, run, user_id, type, url, status, attempts, next_attempt_at)
                     SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), batch_id, 0, user_id, 'batch.finished',
                            'https://hooks.example/done', 'delivered', 1, now() FROM first
                     RETURNING event_id, user_id)
       INSERT INTO deliveries (delivery_id, event_id, user_id, attempt, started_at, latency_ms, outcome, status_code)
       SELECT gen_random_uuid(), event_id, user_id, 1, now(), 40, 'delivered', 204 FROM made""",
    """INSERT INTO webhook_endpoints (endpoint_id, user_id, url, description, enabled)
       SELECT gen_random_uuid(), 'user-' || n, 'https://hooks.example/' || n, '', true
       FROM generate_series(0, %(users)s) AS n""",
    # Of many jobs, most of which have ended.
    """WITH large AS (INSERT INTO batches (batch_id, user_id, job, closed_at, next_check_at)
                      VALUES (gen_random_uuid(), %(heavy)s, '{}', now() - interval '1 h', now()) RETURNING *)
       UPDATE jobs SET batch_id = large.batch_id FROM large
       WHERE jobs.user_id = large.user_id AND jobs.batch_id IS NULL AND jobs.created_at > now() - interval '9 days'""",
    """INSERT INTO failed_usage (user_id, day, attempts, compute_time_ms)
       SELECT 'user-' || n, current_date - day, 1, 31
       FROM generate_series(0, %(users)s) AS n, generate_series(0, 30) AS day""",
    """INSERT INTO requirement_sets (requires) VALUES ('{contract/1}')""",
    """INSERT INTO job_queue (job_id, user_id, requirement_id, state, priority, due_at, lease_token, lease_until,
                              worker_id)
       SELECT job_id, user_id, 1, CASE status WHEN 'queued' THEN 'waiting' ELSE 'active' END, 1, queued_at, lease_token,
              CASE status WHEN 'processing' THEN now() + interval '1 day' END, 'worker'
       FROM jobs WHERE status IN ('queued', 'processing')""",
    """INSERT INTO queue_lanes (user_id, requirement_id, waiting, active, virtual_ms)
       SELECT user_id, 1, count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'active'),
              1000 * random()
       FROM job_queue GROUP BY user_id""",
    """WITH lost AS (SELECT job_id FROM job_queue WHERE state = 'active' LIMIT 5)
       UPDATE job_queue SET lease_until = now() - interval '1 s' FROM lost WHERE job_queue.job_id = lost.job_id""",
    """INSERT INTO api_keys (key_id, user_id, name, secret_hash, scopes, created_at)
       SELECT 'k' || n, 'user-' || n / 2, 'key', 'hash', '{jobs:read}', now()
       FROM generate_series(0, %(users)s * 2) AS n""",
    """INSERT INTO idempotency_keys (user_id, key, fingerprint, job_id, resource_id, holder, lease_until, status,
                                     ciphertext, created_at)
       SELECT user_id, job_id::text, 'x', job_id, job_id, gen_random_uuid(), created_at, 202, 'sealed',
              now() - random() * interval '23 h'
       FROM jobs WHERE created_at > now() - interval '1 day'""",
)


def fill(connection: psycopg.Connection[Any], *, jobs: int, users: int = USERS) -> None:
    """Fill empty tables; the tenant scope of the connection must be everyone."""
    values = {
        "jobs": jobs,
        "users": users,
        "heavy": HEAVY,
        "steady": STEADY,
        "steady_jobs": STEADY_JOBS,
        "queued": round(jobs * QUEUED_SHARE),
        "processing": PROCESSING,
        "created": CREATED,
        "pending": PENDING,
        "due": DUE,
    }
    connection.execute("SET synchronous_commit = off")
    for statement in (_JOBS, *_REST):
        connection.execute(statement, values)
    connection.execute("VACUUM ANALYZE")
