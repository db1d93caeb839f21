"""Signals that end a process, and the end itself.

A signal handler of Python runs only when the main thread executes bytecode. A signal that arrives while the process is
stopped may be delivered to any thread when it continues, and then nothing interrupts a main thread that waits on a
lock. So the main thread waits on the wakeup file descriptor, which the C handler writes to in whichever thread it runs.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
import time
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Termination:
    """Waits for SIGTERM or SIGINT. Create it in the main thread, once per process."""

    def __init__(self) -> None:
        """Install the handlers: from now on, the signals end nothing by themselves."""
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _ignore)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next signal, at most ``seconds``; returns whether one arrived."""
        deadline = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poll.poll(left):
                return False
            if set(os.read(self._reader, 1)) & {int(number) for number in SIGNALS}:
                return True


def _ignore(_number: int, _frame: object) -> None:
    """The number of the signal is in the pipe."""


def exit_now() -> NoReturn:
    """End the process successfully, once everything is closed, without the destructors of a finished interpreter.

    They take more than a second in a process with libraries such as obstore, whose runtime waits for its threads.
    """
    gc.freeze()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
