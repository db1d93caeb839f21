-- transactional: false
-- The changed jobs of a user in the order of the changes. Jobs that have not changed since there are records of changes are not in it.

DROP INDEX CONCURRENTLY IF EXISTS jobs_by_change;
CREATE INDEX CONCURRENTLY jobs_by_change ON jobs (user_id, change) WHERE change IS NOT NULL;
