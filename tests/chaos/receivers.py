"""Webhook receivers with different behavior, which record the deliveries.

Each has its own loopback address, so that a receiver that hangs is a different host from one that answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.chaos.plan import Behavior

ADDRESSES = {Behavior.GOOD: "127.0.0.1", Behavior.SHAKY: "127.0.0.2", Behavior.HANGING: "127.0.0.3"}
HANG_SECONDS = 12.0
"""Longer than the dispatcher's timeout."""
MAX_BODY = 1_000_000


@dataclass(frozen=True)
class Delivery:
    """A received request."""

    at: float
    event_id: str
    job_id: str
    type: str
    status: int
    """Status of the response; 0 for none."""


@dataclass
class Receivers:
    """All receivers; a context manager."""

    deliveries: list[Delivery] = field(default_factory=list)
    _attempts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _servers: dict[Behavior, ThreadingHTTPServer] = field(default_factory=dict)

    def __enter__(self) -> Self:
        for behavior, address in ADDRESSES.items():
            server = ThreadingHTTPServer((address, 0), self._handler(behavior))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, name=f"receiver-{behavior}", daemon=True).start()
            self._servers[behavior] = server
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def url(self, behavior: Behavior) -> str | None:
        """Return the ``webhook_url`` for this behavior."""
        server = self._servers.get(behavior)
        return f"http://{ADDRESSES[behavior]}:{server.server_port}/hook" if server else None

    def _answer(self, behavior: Behavior, event_id: str) -> int:
        """Return the status for the next request of this event, 0 for no response."""
        with self._lock:
            self._attempts[event_id] += 1
            attempts = self._attempts[event_id]
        if behavior is Behavior.SHAKY and attempts < 3:
            return 500 if attempts == 1 else 0
        if behavior is Behavior.HANGING and attempts == 1:
            self._stop.wait(HANG_SECONDS)
            return 0
        return 200

    def _keep(self, event_id: str, body: bytes, status: int) -> None:
        event: dict[str, Any] = json.loads(body)
        deliveries = Delivery(time.time(), event_id, event["data"]["job_id"], event["type"], status)
        with self._lock:
            self.deliveries.append(deliveries)

    def _handler(self, behavior: Behavior) -> type[BaseHTTPRequestHandler]:
        receivers = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY))
                event_id = self.headers.get("webhook-id", "")
                status = receivers._answer(behavior, event_id)
                receivers._keep(event_id, body, status)
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler
