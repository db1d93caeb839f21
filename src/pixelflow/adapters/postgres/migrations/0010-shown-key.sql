-- The row of the key that somebody shows, in one statement: within the function the reach is that row's, before and after
-- it the connection's own (docs/adr/0027-a-key-is-found-by-a-function.md). It has the rights of whoever calls it, so the
-- guard holds it as it holds any statement. An error ends the transaction, and with it what was set for it.
CREATE FUNCTION shown_key(shown text) RETURNS SETOF api_keys LANGUAGE plpgsql ROWS 1 AS $$
DECLARE
    own text := coalesce(current_setting('pixelflow.reach', true), '');
BEGIN
    PERFORM set_config('pixelflow.reach', 'key:' || shown, true);
    RETURN QUERY SELECT * FROM api_keys WHERE key_id = shown;
    PERFORM set_config('pixelflow.reach', own, true);
END $$;
