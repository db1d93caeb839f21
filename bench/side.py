"""A side of a comparison: a process that makes pictures when it is told to, and what that costs it.

It says nothing of its own cost: the kernel is asked. It can't outlive whoever started it.
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
    """Of some pictures."""

    cpu: float
    """Seconds of processor time, user and system, of all threads."""
    wall: float
    """Seconds."""


class Side:
    """One such process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self._process = process
        self._before = (0.0, 0.0)

    def make(self, case: str, sources: Sequence[Path], folder: Path, times: int) -> Cost:
        """Make the outputs of ``case`` from one source after the other, so many times in all.

        Raises:
            BenchError: it could not.
        """
        self.begin(case, sources, folder, times)
        return self.finish()

    def begin(self, case: str, sources: Sequence[Path], folder: Path, times: int) -> None:
        """As :meth:`make`, without waiting: for sides that are to work at the same time."""
        folder.mkdir(exist_ok=True)
        asked = {"case": case, "sources": [str(source) for source in sources], "folder": str(folder), "times": times}
        self._before = cpu_clock(self._process.pid), time.perf_counter()
        assert self._process.stdin is not None  # pipes, as asked for below
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()

    def finish(self) -> Cost:
        """Wait for what was begun."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.strip() != b"done":
            raise BenchError(f"the side «{self.name}» failed: {line!r}; what it said is above")
        cpu, wall = self._before
        return Cost(cpu_clock(self._process.pid) - cpu, time.perf_counter() - wall)


@contextmanager
def opened(name: str, command: Sequence[str | Path]) -> Iterator[Side]:
    """A side that runs ``command`` (absolute path first), ended on the way out."""
    bound = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "-", "-", *map(str, command)]
    process = subprocess.Popen(  # our own programs
        bound,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        start_new_session=True,  # Ctrl-C is for the benchmark, which ends its sides
    )
    try:
        yield Side(name, process)
    finally:
        process.kill()
        process.communicate(timeout=_STOP_SECONDS)


def python_side(name: str) -> list[str]:
    """The command of a side that is a module of ``bench.sides``."""
    return [sys.executable, "-m", f"bench.sides.{name}"]
