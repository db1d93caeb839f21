"""Bearer tokens (JWT) of a trusted issuer."""
