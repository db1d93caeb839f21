"""Usage, summed by day or by user."""
