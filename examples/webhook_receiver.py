"""A receiver of PixelFlow's webhooks that acts once on each event, however often it is told of it.

    pip install standardwebhooks
    PIXELFLOW_WEBHOOK_SECRET=whsec_… python webhook_receiver.py --port 9000 --database events.db

The id of an event is kept in the same transaction as what the event is worth to you. An event that comes again finds
its id there and is answered with 200, so that it does not come a third time. An action that fails leaves no id, is
answered with 500, and is tried again.
"""  # noqa: INP001  # a script

from __future__ import annotations

import argparse
import os
import sqlite3
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BODY = 5_000_000


def act(connection: sqlite3.Connection, event: dict[str, Any]) -> None:
    """What an event is worth to you: here, one row for each finished job. Only this is yours to change."""
    connection.execute(
        "INSERT INTO finished_jobs (job_id, type) VALUES (?, ?)", (event["data"]["job_id"], event["type"])
    )


def act_once(database: str, event_id: str, event: dict[str, Any]) -> bool:
    """Act on the event unless that has been done; returns whether it was done now."""
    with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
        # Two deliveries at the same moment: the second waits here for the first one's transaction.
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT 1 FROM seen_events WHERE event_id = ?", (event_id,)).fetchone():
            return False
        act(connection, event)
        connection.execute("INSERT INTO seen_events (event_id) VALUES (?)", (event_id,))
        return True


def prepare(database: str) -> None:
    """Make the tables. Ids may be forgotten after a few days: an event is retried for little more than one."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS seen_events "
            "(event_id TEXT PRIMARY KEY, seen_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS finished_jobs (job_id TEXT NOT NULL, type TEXT NOT NULL)")


class Handler(BaseHTTPRequestHandler):
    """Verify, act once, answer quickly: PixelFlow waits ten seconds."""

    webhook: Webhook
    database: str

    def do_POST(self) -> None:
        """One delivery."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        try:
            # The body as it came, byte for byte: parsed and written anew it has another signature.
            event = self.webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError):
            self._answer(HTTPStatus.UNAUTHORIZED)
            return
        try:
            new = act_once(self.database, self.headers["webhook-id"], event)
        except Exception:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        self.log_message("%s %s %s", event["type"], event["data"]["job_id"], "done" if new else "seen before")
        self._answer(HTTPStatus.OK)

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Receive until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Receive PixelFlow's webhooks and act once on each event")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--database", default="events.db")
    given = parser.parse_args()
    prepare(given.database)
    Handler.webhook = Webhook(os.environ["PIXELFLOW_WEBHOOK_SECRET"])
    Handler.database = given.database
    with ThreadingHTTPServer(("127.0.0.1", given.port), Handler) as server:
        print(f"Listening on http://127.0.0.1:{server.server_port}/", flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    main()
