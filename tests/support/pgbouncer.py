"""A PgBouncer in transaction mode before a test's Postgres."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from tests.support.ports import free_port

from pixelflow.devstack.ports import LOOPBACK

UNPACKED = Path(__file__).parents[2] / ".tools" / "pgbouncer"
_START_SECONDS = 60.0


def program() -> str:
    """Return ``pgbouncer`` from ``PATH`` or ``make tools``; skip the test without it."""
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:{UNPACKED / 'usr' / 'sbin'}")
    if found is None:
        pytest.skip("no pgbouncer: run `make tools`")
    return found


@contextmanager
def pgbouncer(database_url: str, folder: Path, *, server_connections: int) -> Iterator[str]:
    """Run PgBouncer; yield the URL of the same database through it.

    Args:
        database_url: the database.
        folder: for its files, in which the user ``nobody`` may write.
        server_connections: that all clients share.
    """
    url, port = urlsplit(database_url), free_port()
    users = folder / "users.txt"
    users.write_text(f'"{url.username}" "{unquote(url.password or "")}"\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"""
        [databases]
        * = host={url.hostname} port={url.port}
        [pgbouncer]
        listen_addr = {LOOPBACK}
        listen_port = {port}
        unix_socket_dir =
        auth_type = plain
        auth_file = {users}
        pool_mode = transaction
        default_pool_size = {server_connections}
        """.replace("        ", "")
    )
    libraries = ":".join(str(each) for each in UNPACKED.glob("usr/lib/*-linux-gnu"))
    identity: dict[str, Any] = {"user": 65_534, "group": 65_534, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(
        [program(), str(config)], env={"LD_LIBRARY_PATH": libraries}, stderr=subprocess.DEVNULL, **identity
    ) as process:
        try:
            _wait_for(port)
            yield url._replace(netloc=f"{url.netloc.rpartition('@')[0]}@{LOOPBACK}:{port}").geturl()
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection((LOOPBACK, port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
