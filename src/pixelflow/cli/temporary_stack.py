"""``pixelflow up`` as a child process in a home that goes away with it. Leaves no process behind, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from pixelflow.cli.credentials import session_of
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.client import Client, ConfigurationError, ConnectionFailedError
from pixelflow.client.session import Session
from pixelflow.devstack import launcher

START_SECONDS = 60.0
"""A first start on a slow machine; one that takes longer has failed."""
STOP_SECONDS = 15.0
"""``pixelflow up`` ends within 10 s of being asked to."""
POLL_SECONDS = 0.05


class StartFailedError(Exception):
    """The service did not come up; the message is what it said, and ``code`` how it ended."""

    def __init__(self, said: str, code: ExitCode) -> None:
        super().__init__(said)
        self.code = code


@contextmanager
def running() -> Iterator[Session]:
    """The service, ready; stopped on the way out.

    Raises:
        StartFailedError: it ended or was not ready in time.
    """
    with TemporaryDirectory(prefix="pixelflow-demo-") as home, TemporaryFile() as said:
        process = _start(Path(home), said)
        try:
            yield _ready(Path(home), process, lambda: _tail(said))
        finally:
            _stop(process)


def _start(home: Path, said: IO[bytes]) -> subprocess.Popen[bytes]:
    up = [sys.executable, "-m", "pixelflow", "up", "--home", str(home), "--metrics-port", "0"]
    # The launcher binds it to this process's life. A session of its own keeps Ctrl-C from it: it is stopped in order.
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "-", "-", *up],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _ready(home: Path, process: subprocess.Popen[bytes], said: Callable[[], str]) -> Session:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        session = _answering(home)
        if session is not None:
            return session
        time.sleep(POLL_SECONDS)
    if process.poll() == ExitCode.MISCONFIGURED:
        raise StartFailedError(said(), ExitCode.MISCONFIGURED)
    raise StartFailedError(said() or "It was not ready in time", ExitCode.FAILED)


def _answering(home: Path) -> Session | None:
    """What to reach the API with, once it answers."""
    try:
        session = session_of(home)
        with Client(session=session) as client:
            client.list_jobs(limit=1)
    except (ConfigurationError, ConnectionFailedError):
        return None
    return session


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode(errors="replace").strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
