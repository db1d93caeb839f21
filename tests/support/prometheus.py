"""Debian's Prometheus: promtool, and a server that scrapes the processes of a test.

Neither is installed by Python's means: ``make tools`` gets them, and tests that need them are skipped where it can't.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".tools" / "prometheus" / "usr" / "bin"
START_SECONDS = 60.0

Labels = frozenset[tuple[str, str]]


def program(name: str) -> Path:
    """Return ``promtool`` or ``prometheus`` from ``PATH`` or ``make tools``; skip the test without them."""
    found = shutil.which(name) or shutil.which(name, path=UNPACKED)
    if found is None:
        pytest.skip(f"{name} is not here: `make tools` gets Debian's, or install Prometheus")
    return Path(found)


def labels(**values: str) -> Labels:
    """Return a set of labels."""
    return frozenset(values.items())


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def ask(self, path: str, **parameters: object) -> Any:  # noqa: ANN401  # depends on the path
        """Query its API and return the data of the response."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def now(self, expression: str) -> dict[Labels, float]:
        """Return the current values of an expression, by labels."""
        found = self.ask("query", query=expression)["result"]
        return {frozenset(each["metric"].items()): float(each["value"][1]) for each in found}

    def over(self, expression: str, *, since: float, until: float, step: float) -> dict[Labels, list[list[float]]]:
        """Return the values of an expression over time: pairs of time (in seconds) and value, by labels."""
        found = self.ask("query_range", query=expression, start=since, end=until, step=step)["result"]
        return {
            frozenset(each["metric"].items()): [[float(at), float(value)] for at, value in each["values"]]
            for each in found
        }


@contextmanager
def scraping(
    targets: Mapping[str, Sequence[str]], folder: Path, *, rules: Sequence[Path] = (), seconds: int = 1
) -> Iterator[Prometheus]:
    """Run a server that scrapes ``targets`` (job name → ``host:port``) periodically.

    Args:
        targets: what to scrape.
        folder: an empty folder for its files.
        rules: rule files.
        seconds: scrape interval.
    """
    jobs = [{"job_name": name, "static_configs": [{"targets": list(each)}]} for name, each in targets.items()]
    every = f"{seconds}s"
    configuration = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is valid YAML
    port = free_port()
    command: list[str | Path] = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield _ready(Prometheus(f"http://127.0.0.1:{port}"), process, folder / "log")
        finally:
            process.terminate()


def _ready(server: Prometheus, process: subprocess.Popen[bytes], log: Path) -> Prometheus:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(server):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "Prometheus did not start"
        time.sleep(0.05)
    return server


def _answers(server: Prometheus) -> bool:
    try:
        return httpx.get(f"{server.url}/-/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
