"""Webhook endpoints: URLs that get the events of all jobs of a user."""
