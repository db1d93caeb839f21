"""CPU time and memory of processes and their descendants, read from the kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.acceptance.running import Running, descendants

_TICKS = os.sysconf("SC_CLK_TCK")
_REAPED_USER, _REAPED_SYSTEM = 13, 14
"""Fields of proc(5)'s ``stat``, counted from ``state``: CPU time of children that have exited."""
_LISTEN = "0A"
"""State of a listening socket in ``/proc/net/tcp`` (proc(5))."""


def cpu_clock(pid: int) -> float:
    """Return the CPU seconds (user and system, all threads) of a running process (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def tree_cpu(pid: int) -> float:
    """Return the CPU seconds of a process, its running descendants and those that have exited and were waited for."""
    return cpu_clock(pid) + children_cpu(pid)


def children_cpu(pid: int) -> float:
    """Return the same without the process itself."""
    return _reaped_cpu(pid) + sum(_cpu_with_reaped(process.pid) for process in descendants(pid))


def _cpu_with_reaped(pid: int) -> float:
    """Return 0 for a process that has just exited: its parent counts it."""
    try:
        return cpu_clock(pid) + _reaped_cpu(pid)
    except OSError:
        return 0.0


def _reaped_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_REAPED_USER]) + int(fields[_REAPED_SYSTEM])) / _TICKS


def listening_pid(port: int) -> int | None:
    """Return the process that listens on this TCP port; None if it belongs to another user or another machine."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # closed in the meantime
            if str(entry.readlink()) in inodes:
                return int(entry.parts[2])
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def peak_bytes(process: Running) -> int:
    """Return the peak resident memory (proc(5), VmHWM)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024
