"""Reports that a process is ready to the supervisor that started it, by systemd's protocol (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"
"""Address of the supervisor's datagram socket; ``@`` stands for the null byte of an abstract address."""
READY = b"READY=1"


def notify_ready() -> None:
    """Send the notification, if a supervisor waits for one. Never blocks, and never raises."""
    address = os.environ.pop(VARIABLE, "")  # children of this process must not send in its name
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(READY, address.replace("@", "\0", 1) if address.startswith("@") else address)
