"""S3 server: ``rclone serve s3`` over a folder of the home, in which each bucket is a subfolder.

Writes are not cached: an object exists as soon as its PUT is answered, and not before. The access keys are never passed
on a command line.

Each of PixelFlow's processes has a key pair of its own, so that requests can be attributed. rclone has no policies:
every pair grants access to all buckets.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from pixelflow.adapters.storage.signatures import EMPTY_SHA256, AccessKey, Signer
from pixelflow.devstack.binaries import rclone_program
from pixelflow.devstack.home import ROLES
from pixelflow.devstack.ports import LOOPBACK
from pixelflow.devstack.processes import Child, spawn

if TYPE_CHECKING:
    from pathlib import Path

    from pixelflow.devstack.home import Home

BUCKET = "pixelflow"
PUBLIC_BUCKET = "public"
"""For outputs with a destination; see ``public_files``."""
REGION = "us-east-1"
"""Conventional region of S3 servers without regions; it is part of every signature."""
PARTIAL_UPLOADS = ".rclone_temp_*"
"""Names that rclone reserves for uploads in progress (its manual, «serve s3»)."""
OPTIONS = (
    "--vfs-cache-mode=off",
    # Web pages may use presigned URLs from any origin: the signature grants access, and there are no cookies.
    "--allow-origin=*",
    # Nothing uses the ETag. Its MD5 would read the whole object for every HEAD request: seconds for a gibibyte.
    "--etag-hash=",
    "--max-header-bytes=16384",
    "--log-level=NOTICE",
)


class S3Server:
    """The S3 server of one home."""

    name = "s3"

    def __init__(self, home: Home, port: int) -> None:
        self._home = home
        self._port = port
        self._program = rclone_program(home)
        self._has_partial_uploads = home.was_killed

    @property
    def environment(self) -> dict[str, str]:
        """The settings of PixelFlow that refer to this server, for tests and tools."""
        return self._environment("")

    def environment_of(self, role: str) -> dict[str, str]:
        """The same for one of PixelFlow's processes."""
        return self._environment(f"_{role}")

    def _environment(self, suffix: str) -> dict[str, str]:
        endpoint = f"http://{LOOPBACK}:{self._port}"
        return {
            "PIXELFLOW_S3_ENDPOINT_URL": endpoint,
            "PIXELFLOW_S3_PUBLIC_ENDPOINT_URL": endpoint,
            "PIXELFLOW_S3_REGION": REGION,
            "PIXELFLOW_S3_BUCKET": BUCKET,
            "PIXELFLOW_S3_ADDRESSING": "path",
            "PIXELFLOW_S3_CREDENTIALS": "keys",
            "PIXELFLOW_S3_SESSION_TOKEN": "",
            "PIXELFLOW_S3_ACCESS_KEY_ID": self._home.secrets[f"s3_access_key_id{suffix}"],
            "PIXELFLOW_S3_SECRET_ACCESS_KEY": self._home.secrets[f"s3_secret_access_key{suffix}"],
        }

    def start(self) -> Child:
        """Start it; create the buckets that don't exist."""
        for bucket in (BUCKET, PUBLIC_BUCKET):
            bucket_folder(self._home, bucket)
        folder = self._home.folder("objects")
        if self._has_partial_uploads:
            _remove_partial_uploads(folder)
        self._has_partial_uploads = True
        command: list[str | Path] = [self._program, "serve", "s3", f"--addr={LOOPBACK}:{self._port}", *OPTIONS, folder]
        # The variable is a CSV list of pairs that contain a comma (rclone manual, «serve s3»).
        secrets = self._home.secrets
        suffixes = ["", *(f"_{role}" for role in ROLES)]
        pairs = [
            f'"{secrets[f"s3_access_key_id{each}"]},{secrets[f"s3_secret_access_key{each}"]}"' for each in suffixes
        ]
        # The user's own rclone configuration is neither read nor written.
        environment = {"RCLONE_AUTH_KEY": ",".join(pairs), "RCLONE_CONFIG": "", "HOME": str(folder)}
        return spawn(self._home, self.name, command, environment=environment, account=self._home.account)

    def is_ready(self) -> bool:
        """Return whether a signed HEAD request finds the bucket."""
        endpoint, secrets = f"http://{LOOPBACK}:{self._port}", self._home.secrets
        credentials = AccessKey(secrets["s3_access_key_id"], secrets["s3_secret_access_key"])
        signer = Signer(endpoint, region=REGION, credentials=credentials)
        connection = http.client.HTTPConnection(signer.host, timeout=2)
        try:
            path = f"/{BUCKET}"
            connection.request("HEAD", path, headers=signer.authorize("HEAD", path, headers={}, sha256=EMPTY_SHA256))
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()


def bucket_folder(home: Home, bucket: str) -> Path:
    """Return the folder of a bucket's objects; create it if there is none."""
    folder = home.folder("objects") / bucket
    folder.mkdir(mode=0o700, exist_ok=True)
    home.account.chown(folder)
    return folder


def _remove_partial_uploads(folder: Path) -> None:
    """Remove uploads that a kill interrupted: rclone hides them but never removes them."""
    for upload in folder.rglob(PARTIAL_UPLOADS):
        upload.unlink()
