"""The worker process: claims jobs, moves bytes, runs transforms in child processes."""
