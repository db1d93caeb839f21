"""Batches: jobs that are created together."""
