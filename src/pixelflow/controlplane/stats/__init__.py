"""Counts rows of the database for the metrics."""
