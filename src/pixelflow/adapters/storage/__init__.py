"""Where bytes are: object storage, and files under local roots."""
