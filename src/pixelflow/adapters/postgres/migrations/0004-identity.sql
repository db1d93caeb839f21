-- What a key may be used for; and the second guard: a connection sees the rows within its reach and no others, whatever
-- its statements ask for (docs/adr/0011-second-guard.md).

-- Keys from before there were scopes may do everything but administer.
ALTER TABLE api_keys ADD COLUMN scopes text[] NOT NULL
    DEFAULT '{jobs:read,jobs:write,usage:read,webhooks:write,keys:write}';
ALTER TABLE api_keys ALTER COLUMN scopes DROP DEFAULT;

-- A connection's reach is the setting `pixelflow.reach`: `everyone`, `user:<user_id>`, `key:<key_id>`, or nothing at all.
--
-- CASE, not OR: the planner takes an OR of comparisons with the owner's column for a condition that hardly a row meets, and
-- then sorts all of a user's jobs instead of reading the newest twenty from the index. It must stay one expression, without
-- a search path of its own, to be inlined.
CREATE FUNCTION is_within_reach(owner text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE current_setting('pixelflow.reach', true)
               WHEN 'everyone' THEN true
               ELSE 'user:' || owner = current_setting('pixelflow.reach', true)
           END;

-- FORCE: also for the owner of the tables, who is the one that PixelFlow connects as.
ALTER TABLE jobs            ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE attempts        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE outputs         ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_logs      ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events          ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE deliveries      ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook_secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY within_reach ON jobs            USING (is_within_reach(user_id));
CREATE POLICY within_reach ON usage_logs      USING (is_within_reach(user_id));
CREATE POLICY within_reach ON events          USING (is_within_reach(user_id));
CREATE POLICY within_reach ON deliveries      USING (is_within_reach(user_id));
CREATE POLICY within_reach ON webhook_secrets USING (is_within_reach(user_id));
CREATE POLICY within_reach ON api_keys        USING (is_within_reach(user_id));

-- These are their job's owner's: within the subselect, the policy of jobs holds.
CREATE POLICY within_reach ON attempts USING (
    CASE current_setting('pixelflow.reach', true) WHEN 'everyone' THEN true
         ELSE EXISTS (SELECT FROM jobs WHERE jobs.job_id = attempts.job_id) END);
CREATE POLICY within_reach ON outputs USING (
    CASE current_setting('pixelflow.reach', true) WHEN 'everyone' THEN true
         ELSE EXISTS (SELECT FROM jobs WHERE jobs.job_id = outputs.job_id) END);

-- Whoever shows a key is not known before the key has been read: its own row, nothing else.
CREATE POLICY shown ON api_keys FOR SELECT USING (current_setting('pixelflow.reach', true) = 'key:' || key_id);
CREATE POLICY used ON api_keys FOR UPDATE USING (current_setting('pixelflow.reach', true) = 'key:' || key_id);
