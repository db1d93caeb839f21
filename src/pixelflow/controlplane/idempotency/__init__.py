"""``Idempotency-Key``: a request that is sent again does nothing twice and gets the first response."""
