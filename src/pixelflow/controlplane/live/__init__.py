"""Subject: waiting for changes of jobs, by long polls and event streams."""
