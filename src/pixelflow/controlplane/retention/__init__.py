"""What is deleted, and when: expired files and jobs, erased jobs, orphaned files, old rows."""
