"""The HTTP API. No image bytes pass through it."""
