"""The worker process: claims jobs, transfers files, runs transforms in child processes."""
