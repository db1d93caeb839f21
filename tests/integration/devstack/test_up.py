"""``up`` as a separate process: its start, its orderly end, its death by SIGKILL and its restart."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psycopg
import pytest
from tests.integration.devstack.processes_of import processes_of, wait_until_none
from tests.support.signed_requests import send
from tests.support.waiting import assert_within, eventually

from pixelflow.devstack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("stand_in_up.py")

COMPUTE = """
import psycopg, sys
psycopg.connect(sys.argv[1]).execute("SELECT count(*) FROM generate_series(1, 2000000000)")
"""
WAIT_SECONDS = 300
"""For an end that comes too late to be reported as such."""
IS_COMPUTING = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT count%'"


class Up:
    """A running ``up`` and its output."""

    def __init__(self, process: subprocess.Popen[str], home: Path, wanted_port: int) -> None:
        self.process = process
        self.home = home
        self.wanted_port = wanted_port
        self.said: list[str] = []

    def wait_for(self, words: str) -> None:
        """Read its output until a line contains the words."""
        for line in self._output:
            self.said.append(line.rstrip())
            if words in line:
                return
        pytest.fail(f"it ended without printing {words!r}: {self.said}")

    def ended_within(self, seconds: float) -> int:
        """Wait for its end, which may take so long on a fast machine; returns its exit code."""
        began = time.monotonic()
        code = self.process.wait(WAIT_SECONDS)
        assert_within(seconds, began)
        return code

    def rest(self) -> str:
        """Its remaining output."""
        return self._output.read()

    @property
    def _output(self) -> IO[str]:
        assert self.process.stdout
        return self.process.stdout


@contextlib.contextmanager
def up(home: Path, *, api_port: int = 8080, worker: str = "obey") -> Iterator[Up]:
    command = [sys.executable, str(PROGRAM), str(home), str(api_port), worker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Up(process, home, api_port)
        finally:
            process.kill()


def credentials(home: Path) -> dict[str, str]:
    found = json.loads((home / "credentials.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Up]:
    """An ``up`` whose port was busy and whose worker dies once, for tests that don't stop it."""
    place = Path(tempfile.mkdtemp(prefix="pixelflow-home-"))
    with socket.create_server((LOOPBACK, 0)) as taken, up(place, api_port=taken.getsockname()[1], worker="die") as one:
        one.wait_for("Ctrl-C")
        yield one
    assert wait_until_none(place, 5) == []
    shutil.rmtree(place)


def test_the_api_answers_where_the_credentials_say(shared: Up) -> None:
    assert send("GET", f"{credentials(shared.home)['api_url']}/readyz").status == 200
    assert (shared.home / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert credentials(shared.home)["api_key"] not in "".join(shared.said)


def test_a_busy_api_port_is_replaced_and_reported(shared: Up) -> None:
    port = credentials(shared.home)["api_url"].rpartition(":")[2]
    assert int(port) != shared.wanted_port
    assert f"Port {shared.wanted_port} is busy: api listens on {port} instead." in shared.said


def test_a_process_that_exits_is_restarted_and_reported(shared: Up) -> None:
    shared.wait_for("worker exited (SIGKILL); restarting it in 0.5 s")
    _wait_for_worker(shared.home, "restarted with the caller's value")


def _wait_for_worker(home: Path, words: str) -> None:
    """Until its log contains the words."""
    eventually(lambda: words in (home / "logs" / "worker.log").read_text())


def test_a_second_stack_in_the_same_home_is_rejected(shared: Up) -> None:
    with up(shared.home) as second:
        second.wait_for(f"PixelFlow is already running in {shared.home} (process {shared.process.pid})")
    assert second.process.returncode != 0
    assert shared.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_causes_an_orderly_shutdown(home: Path, number: signal.Signals) -> None:
    with up(home) as running:
        running.wait_for("Ctrl-C")
        running.process.send_signal(number)
        assert running.ended_within(10) == 0
        assert running.rest() == "Stopped.\n"
    assert processes_of(home) == []
    assert "database system is shut down" in (home / "logs" / "postgres.log").read_text()


def test_a_process_that_ignores_sigterm_is_killed_within_ten_seconds(home: Path) -> None:
    with up(home, worker="resist") as running:
        running.wait_for("Ctrl-C")
        _wait_for_worker(home, "ignoring SIGTERM")
        running.process.terminate()
        assert running.ended_within(10) == 0
        assert "worker did not stop in time and was killed." in running.rest()
    assert processes_of(home) == []
    assert "database system is shut down" in (home / "logs" / "postgres.log").read_text()


def test_a_kill_leaves_no_process_and_loses_no_data(home: Path) -> None:
    with up(home, worker="resist") as running:
        running.wait_for("Ctrl-C")
        before = credentials(home)
        with _busy_database(home):
            assert len(processes_of(home)) > 5
            running.process.kill()
            assert wait_until_none(home, 2) == []
    with up(home, api_port=int(before["api_url"].rpartition(":")[2])) as again:
        again.wait_for("Ctrl-C")
        assert credentials(home) == before, "the key is kept, no new one is created"
        assert not any("busy" in line for line in again.said)


def test_a_start_right_after_a_kill_waits_for_the_old_processes(home: Path) -> None:
    with up(home) as running:
        running.wait_for("Ctrl-C")
        ports = (home / "ports.json").read_text()
        running.process.kill()
        with up(home) as again:
            again.wait_for("Ctrl-C")
    assert (home / "ports.json").read_text() == ports


@contextlib.contextmanager
def _busy_database(home: Path) -> Iterator[None]:
    """Run a long statement, in a process that ends together with the stack's clients."""
    url = next(
        entry.partition("=")[2]
        for pid in processes_of(home)
        for entry in (Path("/proc") / pid / "environ").read_text().split("\0")
        if entry.startswith("PIXELFLOW_DATABASE_URL=")
    )
    with (
        subprocess.Popen([sys.executable, "-c", COMPUTE, url], stderr=subprocess.DEVNULL) as client,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        eventually(lambda: connection.execute(IS_COMPUTING).fetchall())
        yield
        client.kill()
