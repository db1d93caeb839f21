"""The lifeline pipe: ends every process of a stack when its supervisor ends, however that happens."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from pixelflow.devstack import orphan_reaper

REAP_SECONDS = 5.0


class LifelinePipe:
    """A pipe that every process of a stack inherits, and the orphan reaper that watches it.

    It ends what the kernel's parent-death signal does not reach, such as grandchildren, even after the supervisor was
    killed. Only the reaper sends signals.
    """

    def __init__(self, lock: int) -> None:
        """Start the reaper, which keeps the lock of descriptor ``lock`` until no process of the stack is left."""
        self.read_end, self._write_end = os.pipe()
        """``read_end`` is for the processes of the stack, and for no others, to inherit."""
        self._reaper = subprocess.Popen(  # noqa: S603 - the command is the stack's own
            [sys.executable, "-I", "-S", orphan_reaper.__file__, str(self.read_end)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            pass_fds=[self.read_end, lock],
            start_new_session=True,
        )

    def register(self, session: int) -> None:
        """Have all processes of this session killed when the stack ends."""
        os.write(self._write_end, b"+%d\n" % session)

    def unregister(self, session: int) -> None:
        """Remove a session that has ended: the kernel may reuse its ID."""
        os.write(self._write_end, b"-%d\n" % session)

    def close(self) -> None:
        """Have the remaining processes of the stack killed, and wait until they have ended."""
        os.close(self.read_end)
        os.close(self._write_end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._reaper.wait(REAP_SECONDS)
