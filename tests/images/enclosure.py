"""Runs commands in a root file system, as a container engine does.

Each command has its own mount and PID namespaces: its mounts end with it, and it is process 1, so that its descendants
end with it. Nothing outside of the root file system is changed. Needs root.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

DEVICES = ("null", "zero", "full", "random", "urandom")
DIES_WITH_PARENT = ("setpriv", "--pdeathsig=KILL")
NAMESPACES = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL")
STOP_SECONDS = 30.0
START_SECONDS = 10.0


@dataclass(frozen=True)
class Root:
    """A root file system and the environment of commands in it."""

    path: Path
    environment: Mapping[str, str]
    """Must contain a PATH that also finds the host's tools. Never passed on a command line."""
    folder: str = "/"
    user: tuple[int, int] | None = None
    """Uid and gid; None for root, who can write everywhere."""
    writable: Sequence[str] = ()
    """Folders that the user can write to, each an empty tmpfs."""
    files: Mapping[Path, str] = field(default_factory=dict)
    """File of the host → path in the root file system."""

    def run(self, command: Sequence[str], *, errors: int | None = None) -> str:
        """Run a command to its end and return its standard output.

        Args:
            command: program and arguments.
            errors: its standard error, as in subprocess; default: inherited.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        done = subprocess.run(
            self._enclosed(command), env=self.environment, check=True, text=True, stdout=subprocess.PIPE, stderr=errors
        )
        return done.stdout

    def start(self, command: Sequence[str], log: IO[bytes]) -> Container:
        """Start a command in the background."""
        process = subprocess.Popen(
            self._enclosed(command), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        return Container(process)

    def _enclosed(self, command: Sequence[str]) -> list[str]:
        inside = ["env", f"--chdir={self.folder}", *command]
        script = "\n".join(
            [*self._mounts(), shlex.join(["exec", "chroot", str(self.path), *self._demotion(), *inside])]
        )
        return [*DIES_WITH_PARENT, *NAMESPACES, "sh", "-euc", script]

    def _mounts(self) -> list[str]:
        root = shlex.quote(str(self.path))
        device = "touch {0}/dev/{1}; mount --bind /dev/{1} {0}/dev/{1}"
        lines = [
            f"mount --bind {root} {root}",
            *(_bind(source, self.path, target) for source, target in self.files.items()),
            *([] if self.user is None else [f"mount -o remount,bind,ro {root}"]),
            f"mount -t proc -o nosuid,nodev,noexec proc {root}/proc",
            f"mount -t tmpfs -o nosuid,size=1m,mode=755 tmpfs {root}/dev",
            *(device.format(root, name) for name in DEVICES),
            f"ln -s /proc/self/fd {root}/dev/fd",
        ]
        owner = "" if self.user is None else f",uid={self.user[0]},gid={self.user[1]}"
        return lines + [
            f"mount -t tmpfs -o nosuid,nodev,noexec,mode=700{owner} tmpfs {root}{shlex.quote(folder)}"
            for folder in self.writable
        ]

    def _demotion(self) -> list[str]:
        """Return the equivalent of ``cap_drop: [ALL]`` and ``no-new-privileges``."""
        if self.user is None:
            return []
        uid, gid = self.user
        return [
            "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig=KILL", "--",
        ]  # fmt: skip


def _bind(source: Path, root: Path, target: str) -> str:
    place = shlex.quote(f"{root}{target}")
    return f"touch {place}; mount --bind {shlex.quote(str(source))} {place}; mount -o remount,bind,ro {place}"


class Container:
    """A running command, process 1 of its namespace."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = self._first_process()
        """The command's process ID on the host."""

    @property
    def is_running(self) -> bool:
        """Whether it is running."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Send SIGTERM, as an engine does, and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it did not exit in time.
        """
        os.kill(self.pid, signal.SIGTERM)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kill it and its descendants."""
        self._process.kill()
        self._process.wait()

    def _first_process(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while not (found := children.read_text().split()):
            if time.monotonic() > deadline or not self.is_running:
                raise RuntimeError("the container did not start")
            time.sleep(0.01)
        return int(found[0])
