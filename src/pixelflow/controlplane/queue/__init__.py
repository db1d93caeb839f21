"""The relay (transactional outbox): sends the missing messages of queued jobs."""
