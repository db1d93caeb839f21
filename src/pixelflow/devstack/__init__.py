"""``pixelflow up``: Postgres, Valkey and an S3 server from wheels, and PixelFlow's processes, on one machine.

Production must never depend on this package: the processes started here are configured by environment variables alone.
"""
