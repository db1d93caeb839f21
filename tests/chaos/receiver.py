"""Receivers of webhooks, each with its manner, on loopback addresses of their own; they keep what they were told.

One address per manner, so that a receiver that hangs is another host than one that answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.chaos.plan import Manner

ADDRESSES = {Manner.GOOD: "127.0.0.1", Manner.SHAKY: "127.0.0.2", Manner.HANGING: "127.0.0.3"}
HANG_SECONDS = 12.0
"""Beyond what a courier waits for an answer."""
MAX_BODY = 1_000_000


@dataclass(frozen=True)
class Heard:
    """One call."""

    at: float
    event_id: str
    job_id: str
    type: str
    status: int
    """What it was answered; 0: nothing."""


@dataclass
class Receivers:
    """All of them; a context manager."""

    heard: list[Heard] = field(default_factory=list)
    _tries: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _servers: dict[Manner, ThreadingHTTPServer] = field(default_factory=dict)

    def __enter__(self) -> Self:
        for manner, address in ADDRESSES.items():
            server = ThreadingHTTPServer((address, 0), self._handler(manner))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, name=f"receiver-{manner}", daemon=True).start()
            self._servers[manner] = server
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def url(self, manner: Manner) -> str | None:
        """What a job with this receiver names as its ``webhook_url``."""
        server = self._servers.get(manner)
        return f"http://{ADDRESSES[manner]}:{server.server_port}/hook" if server else None

    def _answer(self, manner: Manner, event_id: str) -> int:
        """The status for one more call of this event, 0 for none."""
        with self._lock:
            self._tries[event_id] += 1
            tries = self._tries[event_id]
        if manner is Manner.SHAKY and tries < 3:
            return 500 if tries == 1 else 0
        if manner is Manner.HANGING and tries == 1:
            self._stop.wait(HANG_SECONDS)
            return 0
        return 200

    def _keep(self, event_id: str, body: bytes, status: int) -> None:
        told: dict[str, Any] = json.loads(body)
        heard = Heard(time.time(), event_id, told["data"]["job_id"], told["type"], status)
        with self._lock:
            self.heard.append(heard)

    def _handler(self, manner: Manner) -> type[BaseHTTPRequestHandler]:
        receivers = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY))
                event_id = self.headers.get("webhook-id", "")
                status = receivers._answer(manner, event_id)
                receivers._keep(event_id, body, status)
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Keep the terminal to the report."""

        return Handler
