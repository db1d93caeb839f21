-- transactional: false
-- What is due, whichever receiver it is for: a courier that has little to do finds that out without asking at every host.
DROP INDEX CONCURRENTLY IF EXISTS events_due;
CREATE INDEX CONCURRENTLY events_due ON events (next_try_at) WHERE status = 'pending';
-- Everybody's usage of some days. Rows lie in the order of their making, so a summary of every few pages is enough.
DROP INDEX CONCURRENTLY IF EXISTS usage_logs_by_time;
CREATE INDEX CONCURRENTLY usage_logs_by_time ON usage_logs USING brin (created_at);
