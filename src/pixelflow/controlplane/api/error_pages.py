"""The pages that the ``type`` of a problem leads to: ``/errors`` and ``/errors/{code}``. They need no credentials."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re

from fastapi import FastAPI, Response

from pixelflow.contracts.error_guide import GUIDES, titles
from pixelflow.errors import NotFoundError

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8882;padding:.1em .3em;border-radius:.2em}:root{color-scheme:light dark}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "public, max-age=3600",
}


def install(app: FastAPI) -> None:
    """Add the routes."""

    async def index() -> Response:
        return Response(_index(), media_type="text/html", headers=_HEADERS)

    async def page(code: str) -> Response:
        if code not in GUIDES:
            raise NotFoundError("No error has this code; GET /errors lists all codes")
        return Response(_page(code), media_type="text/html", headers=_HEADERS)

    app.add_api_route("/errors", index, include_in_schema=False)
    app.add_api_route("/errors/{code}", page, include_in_schema=False)


@functools.cache
def _index() -> str:
    named = titles()
    rows = [f'<li><a href="/errors/{code}"><code>{code}</code></a> {_html(named[code])}</li>' for code in GUIDES]
    return _document("Errors of PixelFlow", f"<ul>{''.join(rows)}</ul>")


@functools.cache
def _page(code: str) -> str:
    guide = GUIDES[code]
    body = (
        f"<p><code>{code}</code></p><p>{_html(guide.meaning)}</p>"
        f"<h2>What to change</h2><p>{_html(guide.change)}</p>"
        f"<h2>Retry</h2><p>{_html(guide.retry)}</p>"
        '<p><a href="/errors">All errors</a></p>'
    )
    return _document(titles()[code], body)


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_html(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{_html(title)}</h1>{body}</html>\n"
    )


def _html(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
