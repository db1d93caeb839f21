"""The shares of users in the queue."""
