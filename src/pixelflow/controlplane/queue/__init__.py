"""The relay: sends the message of each queued job that has none on the queue."""
