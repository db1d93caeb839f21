"""Assets, the pictures that users keep for their pipelines: create, complete, list, delete."""
