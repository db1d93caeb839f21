"""A contender: a process that makes pictures on request, and the measurement of its cost.

The cost is read from the kernel, not reported by the contender. The process can't outlive the benchmark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import BenchError
from bench.processes import cpu_clock
from pixelflow.devstack import launcher

_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Cost:
    """The cost of a number of pictures."""

    cpu: float
    """Seconds of processor time, user and system, of all threads."""
    wall: float
    """Seconds."""


class Contender:
    """A running contender."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self._process = process
        self._before = (0.0, 0.0)

    def make(self, case: str, sources: Sequence[Path], folder: Path, times: int) -> Cost:
        """Make the outputs of ``case`` ``times`` times, cycling through ``sources``.

        Raises:
            BenchError: the contender failed.
        """
        self.begin(case, sources, folder, times)
        return self.finish()

    def begin(self, case: str, sources: Sequence[Path], folder: Path, times: int) -> None:
        """Start :meth:`make` without waiting, for contenders that work concurrently."""
        folder.mkdir(exist_ok=True)
        request = {"case": case, "sources": [str(source) for source in sources], "folder": str(folder), "times": times}
        self._before = cpu_clock(self._process.pid), time.perf_counter()
        assert self._process.stdin is not None  # opened as pipes below
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def finish(self) -> Cost:
        """Wait for the work started by :meth:`begin`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.strip() != b"done":
            raise BenchError(f"the contender «{self.name}» failed: {line!r}; see its output above")
        cpu, wall = self._before
        return Cost(cpu_clock(self._process.pid) - cpu, time.perf_counter() - wall)


@contextmanager
def start_contender(name: str, command: Sequence[str | Path]) -> Iterator[Contender]:
    """Run ``command`` (an absolute path first) as a contender; kill it on exit."""
    launched = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "-", "-", *map(str, command)]
    process = subprocess.Popen(  # our own programs
        launched,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        start_new_session=True,  # Ctrl-C must reach only the benchmark, which stops its contenders
    )
    try:
        yield Contender(name, process)
    finally:
        process.kill()
        process.communicate(timeout=_STOP_SECONDS)


def python_contender(name: str) -> list[str]:
    """Return the command of a contender that is a module of ``bench.contenders``."""
    return [sys.executable, "-m", f"bench.contenders.{name}"]
