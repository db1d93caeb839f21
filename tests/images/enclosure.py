"""A root file system, and commands run inside it as a container engine would run them.

Each command has namespaces of its own for mounts and processes: whatever it mounts is gone with it, and it is
process 1, whose end is the end of all that it started. Nothing of the machine outside the root is changed. Needs root.
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
DIES_WITH_US = ("setpriv", "--pdeathsig=KILL")
NAMESPACES = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL")
STOP_SECONDS = 30.0
START_SECONDS = 10.0


@dataclass(frozen=True)
class Root:
    """A root file system and how commands find themselves in it."""

    path: Path
    environment: Mapping[str, str]
    """Must name a PATH by which the machine's own tools are found, too. It is on no command line."""
    folder: str = "/"
    user: tuple[int, int] | None = None
    """Uid and gid; None: root, who may write everywhere."""
    writable: Sequence[str] = ()
    """The folders in which that user may write: each an empty file system of its own."""
    files: Mapping[Path, str] = field(default_factory=dict)
    """Of the machine → where they are seen in the root."""

    def run(self, command: Sequence[str], *, errors: int | None = None) -> str:
        """Run to its end and return what it said on its standard output.

        Args:
            command: what to run, and its arguments.
            errors: where its standard error goes, as subprocess takes it; left out: to ours.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        done = subprocess.run(
            self._enclosed(command), env=self.environment, check=True, text=True, stdout=subprocess.PIPE, stderr=errors
        )
        return done.stdout

    def start(self, command: Sequence[str], log: IO[bytes]) -> Container:
        """Run beside us."""
        process = subprocess.Popen(
            self._enclosed(command), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        return Container(process)

    def _enclosed(self, command: Sequence[str]) -> list[str]:
        inside = ["env", f"--chdir={self.folder}", *command]
        script = "\n".join(
            [*self._mounts(), shlex.join(["exec", "chroot", str(self.path), *self._demotion(), *inside])]
        )
        return [*DIES_WITH_US, *NAMESPACES, "sh", "-euc", script]

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
        """As with ``cap_drop: [ALL]`` and ``no-new-privileges``."""
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
    """A command that runs, process 1 of its namespace."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = self._first_process()
        """Of the command, as the machine counts."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Ask it to end, as an engine does, and return its exit status.

        Raises:
            subprocess.TimeoutExpired: it does not.
        """
        os.kill(self.pid, signal.SIGTERM)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it and everything in it now."""
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
