"""API keys: create, authenticate, list, revoke."""
