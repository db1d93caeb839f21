"""The reference of the API: ``/openapi.json``, and ``/docs``, a page that shows it without any other host.

Both need no credentials, so neither does work for each request: all bytes are made once. The document is made at its
first request, in a thread: most processes are never asked for it, and would start half a second later.
"""

from __future__ import annotations

import functools
import gzip
import json
from http import HTTPStatus
from importlib.resources import files
from threading import Lock

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from pixelflow.errors import NotFoundError

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "page.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_CACHED = {"Cache-Control": "public, max-age=86400"}


def install(app: FastAPI) -> None:
    """Add the routes."""
    rendering = Lock()

    def document(request: Request) -> Response:
        with rendering:
            packed = _render(app)
        return _compressed(request, packed, "application/json", {"Cache-Control": "no-cache"})

    async def page(request: Request) -> Response:
        headers = {"Content-Security-Policy": _CSP, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
        return _compressed(request, _file("page.html"), "text/html", headers)

    async def root() -> Response:
        return RedirectResponse("docs", HTTPStatus.TEMPORARY_REDIRECT)

    async def with_slash() -> Response:
        # Relative, so that neither the `Host` header nor the prefix of a proxy matters.
        return RedirectResponse("../docs", HTTPStatus.PERMANENT_REDIRECT)

    async def asset(request: Request, name: str) -> Response:
        if name not in _FILES:
            raise NotFoundError("No route matches this path")
        return _compressed(request, _file(name), _FILES[name], _CACHED)

    app.add_api_route("/openapi.json", document, include_in_schema=False)
    app.add_api_route("/", root, include_in_schema=False)
    app.add_api_route("/docs", page, include_in_schema=False)
    app.add_api_route("/docs/", with_slash, include_in_schema=False)
    app.add_api_route("/docs/{name}", asset, include_in_schema=False)


@functools.lru_cache(maxsize=8)
def _render(app: FastAPI) -> bytes:
    """Return the OpenAPI document of the application, compressed."""
    text = json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":"))
    return gzip.compress(text.encode(), mtime=0)


@functools.cache
def _file(name: str) -> bytes:
    """Return a file of the page, compressed."""
    folder = files(__package__)
    packed = folder / f"{name}.gz"
    return packed.read_bytes() if packed.is_file() else gzip.compress((folder / name).read_bytes(), mtime=0)


def _compressed(request: Request, packed: bytes, media_type: str, headers: dict[str, str]) -> Response:
    headers = {**headers, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(packed, media_type=media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(_unpacked(packed), media_type=media_type, headers=headers)


@functools.lru_cache(maxsize=len(_FILES) + 2)
def _unpacked(packed: bytes) -> bytes:
    """Return a file for clients without gzip. The largest would take 4 ms of the event loop each time."""
    return gzip.decompress(packed)
