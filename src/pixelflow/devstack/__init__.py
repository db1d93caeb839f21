"""``pixelflow up``: real Postgres, Valkey and S3 from wheels, and PixelFlow's processes, on one machine.

Nothing here may be needed in production: the processes started here know their servers by environment alone.
"""
