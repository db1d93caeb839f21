-- A key may have a rate limit of its own, in place of the one that all requests of its user share.

ALTER TABLE api_keys ADD COLUMN rate_limit     integer CHECK (rate_limit >= 1);  -- requests of each class within the window
ALTER TABLE api_keys ADD COLUMN rate_limit_key text;  -- whose buckets: its own id, or that of the key that it was made with
ALTER TABLE api_keys ADD CHECK ((rate_limit IS NULL) = (rate_limit_key IS NULL));
