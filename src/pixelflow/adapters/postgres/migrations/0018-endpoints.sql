-- Webhook endpoints: URLs that get the events of all jobs of a user, besides the `webhook_url` of a job. An event of an endpoint is a row of
-- its own, with its own deliveries.

LOCK TABLE events, webhook_secrets;
CREATE TABLE webhook_endpoints (
    endpoint_id uuid PRIMARY KEY,
    user_id     text NOT NULL,
    url         text NOT NULL,
    description text NOT NULL,
    event_types text[],  -- null: all
    enabled     boolean NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, url)
);
ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY in_tenant_scope ON webhook_endpoints USING (in_tenant_scope(user_id));

-- Null: an event for the `webhook_url` of its job. It references nothing: a deleted endpoint's events end when they are due.
ALTER TABLE events ADD COLUMN endpoint_id uuid;
-- False: a dispatcher created the secret because there was none, and nobody has seen it.
ALTER TABLE webhook_secrets ADD COLUMN shown boolean NOT NULL DEFAULT true;
