"""Postgres: connections with a tenant scope, the schema's migrations and their runner.

Statements are in the stores of each subject. Stores never commit; use cases own the transactions.
"""
