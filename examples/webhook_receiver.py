"""A receiver of PixelFlow's webhooks that acts once on each event, however often it is delivered.

    pip install standardwebhooks
    PIXELFLOW_WEBHOOK_SECRET=whsec_… python webhook_receiver.py --port 9000 --database events.db

The event ID is stored in the same transaction as the action. A repeated event is found by its ID and answered with 200,
so that it is not delivered again. A failed action stores no ID and is answered with 500, so that the event is delivered
again.
"""  # noqa: INP001  # a script

from __future__ import annotations

import argparse
import os
import re
import sqlite3
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BODY = 5_000_000


def act(connection: sqlite3.Connection, event: dict[str, Any]) -> None:
    """The action for an event: here, insert one row for each finished job. Replace this function with your own."""
    if event["type"] in {"job.completed", "job.failed", "job.canceled"}:  # others have no job, such as a test
        connection.execute(
            "INSERT INTO finished_jobs (job_id, type) VALUES (?, ?)", (event["data"]["job_id"], event["type"])
        )


def act_once(database: str, event_id: str, event: dict[str, Any]) -> bool:
    """Act on the event unless it has been seen before. Return whether it was new."""
    with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
        # Of two simultaneous deliveries, the second waits here for the transaction of the first.
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT 1 FROM seen_events WHERE event_id = ?", (event_id,)).fetchone():
            return False
        act(connection, event)
        connection.execute("INSERT INTO seen_events (event_id) VALUES (?)", (event_id,))
        return True


def prepare(database: str) -> None:
    """Create the tables. IDs can be deleted after a few days: an event is retried for little more than one."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS seen_events "
            "(event_id TEXT PRIMARY KEY, seen_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS finished_jobs (job_id TEXT NOT NULL, type TEXT NOT NULL)")


class Handler(BaseHTTPRequestHandler):
    """Verifies, acts once and answers quickly: PixelFlow waits ten seconds."""

    webhook: Webhook
    database: str

    def do_POST(self) -> None:
        """Handle a delivery."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > MAX_BODY:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        try:
            # Verify the original bytes: a parsed and re-serialized body has a different signature.
            event = self.webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError):
            self._answer(HTTPStatus.UNAUTHORIZED)
            return
        try:
            new = act_once(self.database, self.headers["webhook-id"], event)
        except Exception:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        self.log_message("%s %s %s", event["type"], self.headers["webhook-id"], "done" if new else "seen before")
        self._answer(HTTPStatus.OK)

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Receive events until Ctrl-C."""
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
