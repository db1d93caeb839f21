"""Webhooks: events, the attempts to deliver them, and the secrets that sign them."""
