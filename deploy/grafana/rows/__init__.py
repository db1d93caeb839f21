"""The rows of the dashboard: one module for each question of an operator."""
