"""The queue: shares of users, live workers, delayed jobs."""
