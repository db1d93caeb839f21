"""One module per thing outside: Postgres, the queue, object storage, logs. They don't know of each other."""
