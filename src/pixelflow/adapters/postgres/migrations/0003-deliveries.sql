-- Webhooks: every try at delivering an event, and the secrets that they are signed with.

-- Of the URL, without its port: one receiver may be called by so many couriers at once and no more.
ALTER TABLE events ADD COLUMN host text NOT NULL
    GENERATED ALWAYS AS (coalesce(substring(lower(url) FROM '^[a-z]+://(\[[^]]*\]|[^/:?#]*)'), '')) STORED;
-- Grows with every replay: the outcome of a try that began before one does not count.
ALTER TABLE events ADD COLUMN generation integer NOT NULL DEFAULT 0;
DROP INDEX events_pending;
CREATE INDEX events_pending ON events (host, next_try_at) WHERE status = 'pending';
CREATE INDEX events_in_hand ON events (lease_until) WHERE lease_until IS NOT NULL;

CREATE TABLE deliveries (
    delivery_id uuid PRIMARY KEY,
    event_id    text NOT NULL REFERENCES events ON DELETE CASCADE,
    user_id     text NOT NULL,
    try         integer NOT NULL CHECK (try > 0),  -- begins anew with a replay
    started_at  timestamptz NOT NULL,
    latency_ms  integer NOT NULL CHECK (latency_ms >= 0),
    -- refused: no further try, because the receiver said 410 or PixelFlow does not call the address.
    outcome     text NOT NULL CHECK (outcome IN ('delivered', 'retried', 'exhausted', 'refused')),
    status_code integer,  -- of the receiver's answer, if there was one
    error       jsonb,    -- code and message, if there was none
    response_excerpt text
);
CREATE INDEX deliveries_by_event ON deliveries (event_id, started_at DESC);

CREATE TABLE webhook_secrets (
    secret_id   uuid PRIMARY KEY,
    user_id     text NOT NULL,
    sealed      bytea NOT NULL,  -- encrypted with a key from the settings, bound to the user
    created_at  timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz      -- null: the current one
);
CREATE UNIQUE INDEX webhook_secrets_current ON webhook_secrets (user_id) WHERE valid_until IS NULL;
CREATE INDEX webhook_secrets_by_user ON webhook_secrets (user_id, created_at DESC);
