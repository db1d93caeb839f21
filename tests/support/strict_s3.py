"""A strict S3 server for tests: OpenStack Swift, which rejects every request that differs from its signature."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.signed_requests import Target, send

from pixelflow.devstack import launcher

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT = "test"
USER = "tester"
BUCKET = "strict"
REGION = "eu-test-1"
"""Not the usual default, so that a signature without the region is detected."""


@dataclass(frozen=True)
class StrictS3:
    """A running server with an empty bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    bucket: str

    @property
    def target(self) -> Target:
        """The target for signed requests."""
        return Target(self.endpoint, self.bucket, self.region, self.access_key, self.secret_key)

    @property
    def environment(self) -> dict[str, str]:
        """PixelFlow's settings for this server."""
        return {
            "PIXELFLOW_S3_ENDPOINT_URL": self.endpoint,
            "PIXELFLOW_S3_PUBLIC_ENDPOINT_URL": self.endpoint,
            "PIXELFLOW_S3_REGION": self.region,
            "PIXELFLOW_S3_BUCKET": self.bucket,
            "PIXELFLOW_S3_ACCESS_KEY_ID": self.access_key,
            "PIXELFLOW_S3_SECRET_ACCESS_KEY": self.secret_key,
        }


@contextlib.contextmanager
def start_strict_s3(directory: Path) -> Iterator[StrictS3]:
    """Run the server in an empty directory. It ends with the context, and with this process or thread.

    Raises:
        RuntimeError: it did not start; ``strict_s3.log`` in the directory has the reason.
    """
    secret_key = secrets.token_urlsafe(24)
    options = {"folder": str(directory), "account": ACCOUNT, "user": USER, "secret_key": secret_key, "region": REGION}
    with _running(directory, json.dumps(options)) as endpoint:
        started = StrictS3(endpoint, f"{ACCOUNT}:{USER}", secret_key, REGION, BUCKET)
        created = send("PUT", started.target.presign("PUT", ""))
        if created.status != 200:
            raise RuntimeError(f"The bucket could not be created: {created.status} {created.body!r}")
        yield started


@contextlib.contextmanager
def _running(directory: Path, options: str) -> Iterator[str]:
    log = directory / "strict_s3.log"
    launched = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "-", "-"]
    program = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("strict_s3_server.py"))]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [*launched, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            # No coverage of a program that is not PixelFlow's.
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
            text=True,
        ) as server,
    ):
        try:
            yield _endpoint(server, options, log)
        finally:
            server.kill()


def _endpoint(server: subprocess.Popen[str], options: str, log: Path) -> str:
    assert server.stdin
    assert server.stdout
    server.stdin.write(options)
    server.stdin.close()
    if not (endpoint := server.stdout.readline().strip()):
        raise RuntimeError(f"Swift did not start: {log.read_text()}")
    return endpoint
