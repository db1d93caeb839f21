"""The HTTP server of the API: uvicorn, with deadlines, limits and a strict reading of HTTP/1.1 (ADR 0046)."""
