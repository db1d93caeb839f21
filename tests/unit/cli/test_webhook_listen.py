"""The receiver of ``pixelflow webhook listen``: it goes on whatever is sent to it."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer

import pytest

from pixelflow.cli.commands import webhook


@pytest.mark.parametrize("length", ["\N{SUPERSCRIPT TWO}", "9" * 5000, "-1", ""])
def test_an_invalid_length_is_refused(length: str) -> None:
    with ThreadingHTTPServer((webhook.ADDRESS, 0), webhook._handler(None)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = HTTPConnection(webhook.ADDRESS, server.server_port, timeout=60)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
        server.shutdown()
