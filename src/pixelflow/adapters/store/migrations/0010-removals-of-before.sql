-- What attempts from before there were removals may have left; from then on a trigger writes that down.
INSERT INTO removals (job_id, kind, attempt, due_at)
    SELECT job_id, 'orphan', attempt, ended_at + interval '2 hours' FROM attempts
    WHERE outcome <> 'succeeded' AND ended_at IS NOT NULL
    ON CONFLICT DO NOTHING;
