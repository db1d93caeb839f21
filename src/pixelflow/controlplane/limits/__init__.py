"""Rate limits: token buckets in Redis, per user and route class."""
