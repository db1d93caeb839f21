"""A process that can be killed, paused and restarted, with a record of its outages.

It signals only the process that it started itself.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from pixelflow.devstack.processes import Child
from pixelflow.devstack.supervisor import Startable


@dataclass
class Outage:
    """A period in which a process was down or paused, in seconds of the wall clock."""

    name: str
    pid: int
    killed: bool
    began: float
    ended: float | None = None


@dataclass
class ManagedProcess:
    """A process and its restarts."""

    startable: Startable
    outages: list[Outage] = field(default_factory=list)
    child: Child | None = None
    _restart_at: float = 0.0
    _log_offset: int = 0

    @property
    def name(self) -> str:
        """Its name in the plan and the report."""
        return self.startable.name

    @property
    def pid(self) -> int | None:
        """The process ID; None while it is not running."""
        return self.child.pid if self.child is not None and not self.child.has_exited else None

    def start(self) -> None:
        """Start it."""
        self.child = self.startable.start()
        self._log_offset = self.child.log.stat().st_size

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines that it has logged since its last start."""
        if self.child is None:
            return []
        lines = self.child.log.read_bytes()[self._log_offset :].splitlines()
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def has_logged(self, words: bytes) -> bool:
        """Return whether it has logged ``words`` since its last start."""
        return self.child is not None and words in self.child.log.read_bytes()[self._log_offset :]

    def kill(self, *, down_seconds: float) -> bool:
        """Kill it with SIGKILL and restart it after ``down_seconds``. Return False if it was not running."""
        return self._end(signal.SIGKILL, down_seconds, killed=True)

    def request_stop(self, *, down_seconds: float) -> bool:
        """Like :meth:`kill`, but with SIGTERM."""
        return self._end(signal.SIGTERM, down_seconds, killed=False)

    def _end(self, number: signal.Signals, down_seconds: float, *, killed: bool) -> bool:
        pid = self.pid
        if pid is None:
            return False
        self.outages.append(Outage(self.name, pid, killed, began=time.time()))
        self._restart_at = time.monotonic() + down_seconds
        os.kill(pid, number)
        return True

    def pause(self) -> int | None:
        """Pause it. Return the process ID for :meth:`resume`, or None if it was not running."""
        pid = self.pid
        if pid is not None:
            self.outages.append(Outage(self.name, pid, killed=False, began=time.time()))
            os.kill(pid, signal.SIGSTOP)
        return pid

    def resume(self, pid: int) -> None:
        """Resume it if it is still the same process."""
        if self.pid == pid:
            os.kill(pid, signal.SIGCONT)
            self._close(pid)

    def tick(self) -> None:
        """Restart it if it is due, and close its outages once it is ready."""
        if self.child is None:
            return
        if self.child.has_exited and time.monotonic() >= self._restart_at:
            self.start()
        self._close_if_back()

    def _close_if_back(self) -> None:
        pid = self.pid
        missing = [outage.pid for outage in self.outages if outage.ended is None]
        if missing and pid is not None and pid not in missing and self.startable.is_ready():
            for gone in missing:
                self._close(gone)

    def _close(self, pid: int) -> None:
        for outage in self.outages:
            if outage.pid == pid and outage.ended is None:
                outage.ended = time.time()
