-- transactional: false
-- Pending events by user and host: a dispatcher visits users and hosts one after another, however many events each of them has.
DROP INDEX CONCURRENTLY IF EXISTS events_by_user;
CREATE INDEX CONCURRENTLY events_by_user ON events (user_id, host, next_attempt_at) WHERE status = 'pending';
