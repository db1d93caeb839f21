"""Web server of the bucket ``public``: ``rclone serve http`` over its folder, read-only and without listings.

It is to ``pixelflow up`` what a CDN is to a production: final URLs of outputs open in a browser. It must never serve
another folder.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from pixelflow.devstack.binaries import rclone_program
from pixelflow.devstack.ports import LOOPBACK
from pixelflow.devstack.processes import Child, spawn
from pixelflow.devstack.s3_server import PUBLIC_BUCKET, bucket_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pixelflow.devstack.home import Home

URL_FILE = "public_url.json"
"""The address of the server in front of this one, kept from one start to the next, as the ports are."""
OPTIONS = (
    "--read-only",
    "--disable-dir-list",
    # New objects and replaced ones are visible at once.
    "--dir-cache-time=0",
    "--poll-interval=0",
    # Web pages of any origin may read a picture into a canvas.
    "--allow-origin=*",
    "--log-level=NOTICE",
)


class PublicFiles:
    """The web server of one home."""

    name = "public"

    def __init__(self, home: Home, port: int, public_url: str | None = None) -> None:
        """``public_url``: what the URLs begin with, now and at later starts; ``""``: the address of this server."""
        self._home = home
        self._port = port
        if public_url is not None:
            home.write_json(URL_FILE, {"url": public_url})
        self.url: str = home.read_json(URL_FILE).get("url") or f"http://{LOOPBACK}:{port}"
        self._program = rclone_program(home)

    def buckets(self, s3: Mapping[str, str]) -> str:
        """The value of ``PIXELFLOW_BUCKETS`` that names the bucket ``public``.

        Args:
            s3: settings that refer to the S3 server.
        """
        bucket = {
            "bucket": PUBLIC_BUCKET,
            "endpoint_url": s3["PIXELFLOW_S3_ENDPOINT_URL"],
            "credentials": {
                "access_key_id": "PIXELFLOW_S3_ACCESS_KEY_ID",
                "secret_access_key": "PIXELFLOW_S3_SECRET_ACCESS_KEY",
            },
            "public_base_url": self.url,
            "sources": True,
        }
        return json.dumps({"public": bucket})

    def start(self) -> Child:
        """Start it over the bucket's folder, which may be empty."""
        folder = bucket_folder(self._home, PUBLIC_BUCKET)
        command: list[str | Path] = [
            self._program,
            "serve",
            "http",
            f"--addr={LOOPBACK}:{self._port}",
            *OPTIONS,
            folder,
        ]
        # The user's own rclone configuration is neither read nor written.
        environment = {"RCLONE_CONFIG": "", "HOME": str(folder)}
        return spawn(self._home, self.name, command, environment=environment, account=self._home.account)

    def is_ready(self) -> bool:
        """Return whether it accepts connections."""
        try:
            with socket.create_connection((LOOPBACK, self._port), timeout=2):
                return True
        except OSError:
            return False
