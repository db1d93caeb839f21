"""Jobs: create, start, retry, cancel, erase and read them; reap expired leases."""
