"""Ports on the loopback interface for servers that tests start, or that nothing listens on."""

from __future__ import annotations

import socket

from pixelflow.devstack.ports import LOOPBACK


def free_port() -> int:
    """Return a port that nothing listened on a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
