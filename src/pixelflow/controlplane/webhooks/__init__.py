"""Webhooks: events, their deliveries, and the secrets that sign them."""
