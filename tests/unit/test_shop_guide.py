"""The backend of the guide ``shop.md`` against a hostile request, and where it keeps its secret."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "shop.md"


def run_part(kind: type[ast.stmt], text: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the statements of this kind in the guide's Python that have ``text``."""
    source = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
    parts = [each for each in ast.parse(source).body if isinstance(each, kind) and text in ast.unparse(each)]
    assert parts
    exec(compile(ast.Module(parts, []), str(GUIDE), "exec"), names)  # noqa: S102 - the guide's own code
    return names


@pytest.mark.parametrize("length", ["-1", "\u00b2", "10000000", "9" * 5000])
def test_the_shop_refuses_a_body_without_a_valid_length(length: str) -> None:
    names = {"BaseHTTPRequestHandler": BaseHTTPRequestHandler, "json": json, "Path": Path}
    handler = run_part(ast.ClassDef, "class Shop(", names)["Shop"]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with socket.create_connection(server.server_address, timeout=60) as connection:  # type: ignore[arg-type]
            head = f"POST /photos HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode("latin-1"))
            assert connection.recv(100).startswith(b"HTTP/1.0 413 ")
        server.shutdown()


def test_the_error_of_a_job_that_waits_is_no_problem_of_its_product() -> None:
    shop = sqlite3.connect(":memory:")
    names: dict[str, Any] = {"shop": shop}
    run_part(ast.Assign, "CREATE TABLE", names)
    store_job = run_part(ast.FunctionDef, "def store_job(", names)["store_job"]
    shop.executescript(names["SCHEMA"])
    shop.execute("INSERT INTO products (sku, job) VALUES ('a', '1')")
    job = {"job_id": "1", "metadata": {"sku": "a"}, "error": {"message": "away"}, "outputs": []}
    problems = []
    for status in ("queued", "failed", "queued"):
        store_job({**job, "status": status})
        problems += shop.execute("SELECT problem FROM products").fetchone()
    assert problems == [None, "away", None]


def test_only_the_owner_reads_the_secret_of_the_shop(tmp_path: Path) -> None:
    file = tmp_path / "webhook-secret"
    pixelflow = SimpleNamespace(create_webhook_secret=lambda: SimpleNamespace(secret="whsec_x"))
    before = os.umask(0o022)
    try:
        run_part(ast.If, "SECRET_FILE.exists()", {"SECRET_FILE": file, "pixelflow": pixelflow})
    finally:
        os.umask(before)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("whsec_x", 0o600)
