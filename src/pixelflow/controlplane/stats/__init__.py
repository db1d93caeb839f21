"""Counts of what is in the database, for the metrics."""
