"""Jobs: create, start, cancel, retry, erase, read; and the reaper of leases that ran out."""
