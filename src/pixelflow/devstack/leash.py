"""What ties every process of a stack to its supervisor's life, beside the kernel's own signal to direct children.

Never signals a process itself: that is the guardian's, which works when the supervisor can't.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from pixelflow.devstack import guardian

RELEASE_SECONDS = 5.0


class Leash:
    """A pipe that all of them hold, and the guardian that watches it."""

    def __init__(self, family_lock: int) -> None:
        """Start the guardian, which keeps the lock of that descriptor until nothing is left of the family."""
        self.descriptor, self._held = os.pipe()
        """For every process of the stack to inherit, and for nothing else."""
        self._guardian = subprocess.Popen(  # noqa: S603 - the command is the stack's own
            [sys.executable, "-I", "-S", guardian.__file__, str(self.descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            pass_fds=[self.descriptor, family_lock],
            start_new_session=True,
        )

    def tie(self, session: int) -> None:
        """Have everything in this session ended with the stack."""
        os.write(self._held, b"+%d\n" % session)

    def untie(self, session: int) -> None:
        """The session has been ended; its number may become a stranger's."""
        os.write(self._held, b"-%d\n" % session)

    def release(self) -> None:
        """End whatever is left of the stack, and return when it is gone."""
        os.close(self.descriptor)
        os.close(self._held)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guardian.wait(RELEASE_SECONDS)
