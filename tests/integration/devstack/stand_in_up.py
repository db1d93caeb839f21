"""Script for ``test_up``: runs ``up`` with stand-ins for PixelFlow's processes.

Arguments: the home, the preferred API port, and what the stand-in for the worker does (``obey`` or ``resist`` SIGTERM,
or ``die`` once).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from pixelflow.devstack import up
from pixelflow.devstack.stack import Role, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping

API = """
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=int(os.environ["PIXELFLOW_API_SOCKET"]))
server.serve_forever()
"""
WORKERS = {
    "obey": "import time; time.sleep(1000)",
    # Ignores SIGTERM and has a child: both must be killed.
    "resist": """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print("ignoring SIGTERM", flush=True)
time.sleep(1000)
""",
    "die": """
import os, pathlib, signal, time
marker = pathlib.Path("worker-died")
if not marker.exists():
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
print("restarted with", os.environ["PIXELFLOW_FROM_CALLER"], flush=True)
time.sleep(1000)
""",
}


def migrate(environment: Mapping[str, str]) -> None:
    """Create the only table, if it does not exist."""
    with psycopg.connect(environment["PIXELFLOW_DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS seeds (id int GENERATED ALWAYS AS IDENTITY)")


def seed(environment: Mapping[str, str]) -> str:
    """Return a key that contains the number of calls."""
    with psycopg.connect(environment["PIXELFLOW_DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO seeds DEFAULT VALUES")
        row = connection.execute("SELECT count(*) FROM seeds").fetchone()
    assert row
    return f"pf_key{row[0]}_secret"


def roles(stack: Stack) -> list[Role]:
    """Return an API that answers, and the requested worker: started first, so that it is running before it can die."""
    return [
        Role("worker", [sys.executable, "-c", WORKERS[sys.argv[3]]]),
        Role("api", [sys.executable, "-c", API], ready_url=f"{stack.api_url}/readyz"),
    ]


def echo(line: str) -> None:
    """Print for the test."""
    print(line, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    os.environ["PIXELFLOW_FROM_CALLER"] = "the caller's value"
    up.run(
        Path(sys.argv[1]),
        api_port=int(sys.argv[2]),
        metrics_port=0,
        echo=echo,
        check=dict,
        migrate=migrate,
        seed=seed,
        roles=roles,
    )
