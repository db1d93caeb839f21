"""``up`` with stand-ins for PixelFlow's processes: a program, run by ``test_up``.

Arguments: the home, the API port wanted, and what the stand-in for a worker does (``obey`` or ``resist`` SIGTERM, or
``die`` once).
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
    # A child of its own, and deaf: both must go all the same.
    "resist": """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print("deaf", flush=True)
time.sleep(1000)
""",
    "die": """
import os, pathlib, signal, time
marker = pathlib.Path("worker-died")
if not marker.exists():
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
print("alive again, told", os.environ["PIXELFLOW_TOLD"], flush=True)
time.sleep(1000)
""",
}


def migrate(environment: Mapping[str, str]) -> None:
    """Make the one table, if need be."""
    with psycopg.connect(environment["PIXELFLOW_DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS seeds (id int GENERATED ALWAYS AS IDENTITY)")


def seed(environment: Mapping[str, str]) -> str:
    """Count the calls."""
    with psycopg.connect(environment["PIXELFLOW_DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO seeds DEFAULT VALUES")
        row = connection.execute("SELECT count(*) FROM seeds").fetchone()
    assert row
    return f"pf_key{row[0]}_secret"


def roles(stack: Stack) -> list[Role]:
    """An API that answers, and the worker asked for: first, so that it is seen alive before it can die."""
    return [
        Role("worker", [sys.executable, "-c", WORKERS[sys.argv[3]]]),
        Role("api", [sys.executable, "-c", API], ready_url=f"{stack.api_url}/readyz"),
    ]


def say(line: str) -> None:
    """Tell the test."""
    print(line, flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    os.environ["PIXELFLOW_TOLD"] = "by the caller"
    up.run(
        Path(sys.argv[1]),
        api_port=int(sys.argv[2]),
        metrics_port=0,
        say=say,
        check=dict,
        migrate=migrate,
        seed=seed,
        roles=roles,
    )
