-- Sums of usage by day, and leases of work that one controller does for all.

-- Users see and pay what `usage_logs` records. Its triggers keep the sums in the same transaction, whichever release writes.
CREATE TABLE usage_days (
    user_id          text NOT NULL,
    day              date NOT NULL,  -- in UTC
    jobs             bigint NOT NULL,
    pixels_processed numeric NOT NULL,
    bytes_saved      numeric NOT NULL,
    compute_time_ms  numeric NOT NULL,
    PRIMARY KEY (user_id, day)
) WITH (fillfactor = 50);  -- each job updates a row, without a change to an index
CREATE INDEX usage_days_by_day ON usage_days (day);

CREATE TABLE controller_leases (
    name        text PRIMARY KEY,
    holder      uuid NOT NULL,
    lease_until timestamptz NOT NULL
);

ALTER TABLE usage_days        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE controller_leases ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY in_tenant_scope ON usage_days USING (in_tenant_scope(user_id));
CREATE POLICY in_tenant_scope ON controller_leases
    USING (current_setting('pixelflow.tenant_scope', true) = 'everyone');

-- Adds rows that were inserted, and subtracts rows that an operator deleted or changed. Orders them, so that two statements can't
-- deadlock. Triggers run after the statement: whoever writes usage has locked the user's lanes already. Runs as the owner of the
-- tables, because a worker must not write sums.
CREATE FUNCTION sum_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP IN ('DELETE', 'UPDATE') THEN
        INSERT INTO usage_days AS kept
        SELECT user_id, (created_at AT TIME ZONE 'UTC')::date, -count(*), -sum(pixels_processed), -sum(bytes_saved),
               -sum(compute_time_ms)
        FROM old_rows GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (user_id, day) DO UPDATE
        SET jobs = kept.jobs + excluded.jobs, pixels_processed = kept.pixels_processed + excluded.pixels_processed,
            bytes_saved = kept.bytes_saved + excluded.bytes_saved,
            compute_time_ms = kept.compute_time_ms + excluded.compute_time_ms;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO usage_days AS kept
        SELECT user_id, (created_at AT TIME ZONE 'UTC')::date, count(*), sum(pixels_processed), sum(bytes_saved),
               sum(compute_time_ms)
        FROM new_rows GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (user_id, day) DO UPDATE
        SET jobs = kept.jobs + excluded.jobs, pixels_processed = kept.pixels_processed + excluded.pixels_processed,
            bytes_saved = kept.bytes_saved + excluded.bytes_saved,
            compute_time_ms = kept.compute_time_ms + excluded.compute_time_ms;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM usage_days WHERE jobs = 0 AND user_id IN (SELECT user_id FROM old_rows);
    END IF;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION sum_usage() FROM PUBLIC;
-- Of all users, like TRUNCATE itself.
CREATE FUNCTION forget_usage_sums() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    scope text := current_setting('pixelflow.tenant_scope', true);
BEGIN
    PERFORM set_config('pixelflow.tenant_scope', 'everyone', true);
    DELETE FROM usage_days;
    PERFORM set_config('pixelflow.tenant_scope', coalesce(scope, ''), true);
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION forget_usage_sums() FROM PUBLIC;

-- The usage so far. Rows older than an hour are summed while others write: no transaction lasts that long, and rows never change.
-- The rest, and the creation of the triggers, keep writers waiting for a moment.
INSERT INTO usage_days
SELECT user_id, (created_at AT TIME ZONE 'UTC')::date, count(*), sum(pixels_processed), sum(bytes_saved), sum(compute_time_ms)
FROM usage_logs WHERE created_at < now() - interval '1 hour' GROUP BY 1, 2;
LOCK TABLE usage_logs IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO usage_days AS kept
SELECT user_id, (created_at AT TIME ZONE 'UTC')::date, count(*), sum(pixels_processed), sum(bytes_saved), sum(compute_time_ms)
FROM usage_logs WHERE created_at >= now() - interval '1 hour' GROUP BY 1, 2
ON CONFLICT (user_id, day) DO UPDATE
SET jobs = kept.jobs + excluded.jobs, pixels_processed = kept.pixels_processed + excluded.pixels_processed,
    bytes_saved = kept.bytes_saved + excluded.bytes_saved, compute_time_ms = kept.compute_time_ms + excluded.compute_time_ms;
CREATE TRIGGER usage_logs_sum_insert AFTER INSERT ON usage_logs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sum_usage();
CREATE TRIGGER usage_logs_sum_update AFTER UPDATE ON usage_logs REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sum_usage();
CREATE TRIGGER usage_logs_sum_delete AFTER DELETE ON usage_logs REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sum_usage();
CREATE TRIGGER usage_logs_sum_truncate AFTER TRUNCATE ON usage_logs FOR EACH STATEMENT EXECUTE FUNCTION forget_usage_sums();
