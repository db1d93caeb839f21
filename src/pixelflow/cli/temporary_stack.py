"""Runs ``pixelflow up`` as a child process in a temporary home. Must not leave a process behind, however it ends."""

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

from pixelflow.cli.exit_codes import ExitCode
from pixelflow.client import Client, ConfigurationError, ConnectionFailedError
from pixelflow.client.local_session import read_session
from pixelflow.client.session import Session
from pixelflow.devstack import launcher

START_SECONDS = 60.0
"""Enough for a first start on a slow machine."""
STOP_SECONDS = 15.0
"""``pixelflow up`` stops within 10 s."""
POLL_SECONDS = 0.05


class StartFailedError(Exception):
    """The service did not start.

    Attributes:
        exit_code: for the command that started it. ``str(error)`` is the output of the service.
    """

    def __init__(self, output: str, exit_code: ExitCode) -> None:
        super().__init__(output)
        self.exit_code = exit_code


@contextmanager
def run_temporary_stack() -> Iterator[Session]:
    """Start the service, yield its API address and key once it is ready, and stop it at the end.

    Raises:
        StartFailedError: the service exited or was not ready in time.
    """
    with TemporaryDirectory(prefix="pixelflow-demo-") as home, TemporaryFile() as output:
        process = _start(Path(home), output)
        try:
            yield _wait_until_ready(Path(home), process, lambda: _read(output))
        finally:
            _stop(process)


def _start(home: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pixelflow", "up", "--home", str(home), "--metrics-port", "0"]
    # The launcher ends it when this process ends. It gets a session of its own so that Ctrl-C in the terminal does not
    # reach it: _stop() ends it in order.
    return subprocess.Popen(  # noqa: S603 - a fixed command
        [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "-", "-", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _wait_until_ready(home: Path, process: subprocess.Popen[bytes], read_output: Callable[[], str]) -> Session:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        session = _try_connect(home)
        if session is not None:
            return session
        time.sleep(POLL_SECONDS)
    if process.poll() == ExitCode.MISCONFIGURED:
        raise StartFailedError(read_output(), ExitCode.MISCONFIGURED)
    raise StartFailedError(read_output() or f"It was not ready within {START_SECONDS:.0f} s", ExitCode.FAILED)


def _try_connect(home: Path) -> Session | None:
    """Return the API address and key if the API answers."""
    try:
        session = read_session(home)
        with Client(session=session) as client:
            client.list_jobs(limit=1)
    except (ConfigurationError, ConnectionFailedError):
        return None
    return session


def _read(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace").strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
