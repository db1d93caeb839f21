"""The data plane: workers that run jobs, and the confined child processes that decode and transform images."""
