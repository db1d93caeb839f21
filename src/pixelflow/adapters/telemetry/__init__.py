"""Logs, metrics, traces and health checks of a process. They must never contain a secret or a presigned URL's query."""
