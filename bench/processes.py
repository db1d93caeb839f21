"""What processes have used, as the kernel counts it: processor time and memory of a process and all below it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.running import Running, descendants

_TICKS = os.sysconf("SC_CLK_TCK")
_REAPED_USER, _REAPED_SYSTEM = 13, 14
"""Fields of proc(5)'s ``stat``, counted from ``state``: processor time of children that ended."""


def cpu_clock(pid: int) -> float:
    """Seconds of processor time, user and system, of one living process in all its threads (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def family_cpu(pid: int) -> float:
    """The same of a process, all living ones below it, and those of its children that have ended."""
    living = [pid, *(process.pid for process in descendants(pid))]
    return sum(cpu_clock(each) for each in living) + _reaped_cpu(pid)


def _reaped_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_REAPED_USER]) + int(fields[_REAPED_SYSTEM])) / _TICKS


def peak_bytes(process: Running) -> int:
    """The most memory that it ever had resident (proc(5), VmHWM)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process that stands still meanwhile; it goes on however this ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
