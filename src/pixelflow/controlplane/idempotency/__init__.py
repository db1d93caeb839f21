"""``Idempotency-Key``: a repeated request has no further effect and gets the first response."""
