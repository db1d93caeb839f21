"""A small image service with imgproxy's URLs, in the place of a real one."""

from __future__ import annotations

import base64
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pyvips

_PATH = re.compile(r"/insecure/rs:fit:(?P<width>\d+):0/q:(?P<quality>\d+)/(?P<source>[\w-]+)\.(?P<extension>\w+)")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = _PATH.fullmatch(self.path)
        if found is None:
            self.send_error(404)
            return
        padded = found["source"] + "=" * (-len(found["source"]) % 4)
        source = httpx.get(base64.urlsafe_b64decode(padded).decode(), timeout=30).raise_for_status().content
        image = pyvips.Image.thumbnail_buffer(
            source, int(found["width"]), height=10_000, size="down", output_profile="srgb"
        )
        options = {"effort": 0} if found["extension"] == "avif" else {}
        body = image.write_to_buffer(f".{found['extension']}", Q=int(found["quality"]), keep="none", **options)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Log nothing."""


@contextmanager
def running_service() -> Iterator[str]:
    """Serve on a free port of loopback; yield the URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
