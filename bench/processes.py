"""CPU time and memory of processes and their descendants, read from the kernel."""

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
"""Fields of proc(5)'s ``stat``, counted from ``state``: CPU time of children that have exited."""


def cpu_clock(pid: int) -> float:
    """Return the CPU seconds (user and system, all threads) of a running process (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def tree_cpu(pid: int) -> float:
    """Return the CPU seconds of a process, its running descendants and its exited children."""
    running = [pid, *(process.pid for process in descendants(pid))]
    return sum(cpu_clock(each) for each in running) + _reaped_cpu(pid)


def _reaped_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_REAPED_USER]) + int(fields[_REAPED_SYSTEM])) / _TICKS


def peak_bytes(process: Running) -> int:
    """Return the peak resident memory (proc(5), VmHWM)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Pause a process; it is always resumed on exit."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
