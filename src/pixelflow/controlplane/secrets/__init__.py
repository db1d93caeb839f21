"""Re-encrypts stored values after the key that encrypts them was changed."""
