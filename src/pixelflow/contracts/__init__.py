"""What clients, receivers and queue consumers may rely on: models and rules, no I/O."""
