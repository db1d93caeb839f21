"""The reference at ``/docs``: complete, unchanged from its release, and from no other host."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from pixelflow.controlplane.api.main import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.services import Services

SHA256 = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""Of the files in swagger-ui-dist 5.35.0."""


def _no_services() -> AbstractAsyncContextManager[Services]:
    raise NotImplementedError


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """One for all: it makes the OpenAPI document once, which takes a second."""
    return make_app(_no_services, ApiMetrics(CollectorRegistry()), NoOpTracer())


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        yield client


async def test_the_page_and_all_that_it_names_come_from_the_api(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == 4
    for name in named:
        assert (await client.get(f"/{name}")).status_code == 200, name
    assert "://" not in page.text + (await client.get("/docs/page.js")).text
    document = (await client.get("/openapi.json")).json()
    assert "/v1/jobs" in document["paths"]
    assert not any(path.startswith("/docs") for path in document["paths"])


async def test_other_requests_are_answered_while_the_document_is_made_once() -> None:
    app = make_app(_no_services, ApiMetrics(CollectorRegistry()), NoOpTracer())
    answered = threading.Event()
    calls: list[bool] = []

    def slow() -> dict[str, object]:
        calls.append(answered.wait(60))
        return {}

    app.openapi = slow  # type: ignore[method-assign]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        documents = [asyncio.create_task(client.get("/openapi.json")) for _ in range(2)]
        await asyncio.sleep(0)
        assert (await client.get("/docs")).status_code == 200
        answered.set()
        assert [(await document).json() for document in documents] == [{}, {}]
    assert calls == [True]


async def test_the_page_may_run_only_scripts_of_the_api(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    policy = dict(part.split(maxsplit=1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not re.search(r"<script>|<style|\son\w+=", page.text), "nothing inline"


@pytest.mark.parametrize(("name", "digest"), SHA256.items())
async def test_the_files_are_those_of_the_release(client: httpx.AsyncClient, name: str, digest: str) -> None:
    for encoding in ("gzip", "identity"):
        response = await client.get(f"/docs/{name}", headers={"Accept-Encoding": encoding})
        assert response.headers.get("Content-Encoding") == ("gzip" if encoding == "gzip" else None)
        assert hashlib.sha256(response.content).hexdigest() == digest


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui-bundle.js", "/openapi.json"])
async def test_a_file_is_decompressed_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    identity = {"Accept-Encoding": "identity"}
    first = await client.get(path, headers=identity)
    monkeypatch.setattr(gzip, "decompress", lambda _: pytest.fail("decompressed again"))
    assert (await client.get(path, headers=identity)).content == first.content


@pytest.mark.parametrize("name", ["LICENSE", "page.html", "__init__.py", "..%2F__init__.py", "redoc"])
async def test_no_other_file_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/docs/{name}")).status_code == 404


async def test_a_slash_at_the_end_leads_to_the_page(client: httpx.AsyncClient) -> None:
    response = await client.get("http://api/docs/", headers={"Host": "evil.example"})
    assert (response.status_code, response.headers["Location"]) == (308, "../docs")
    assert (await client.get("/docs/", follow_redirects=True)).url.path == "/docs"


async def test_the_root_leads_to_the_page(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"Host": "evil.example"})
    assert (response.status_code, response.headers["Location"]) == (307, "docs")
    assert (await client.get("/", follow_redirects=True)).url.path == "/docs"
    assert (await client.post("/")).status_code == 405


@pytest.mark.parametrize("path", ["/healthz/", "/v1/jobs/", "//evil.example/", "/redoc"])
async def test_no_other_answer_redirects(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"http://api{path}", headers={"Host": "evil.example"})
    assert response.status_code in (401, 404)
    assert "Location" not in response.headers


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/jobs", "GET, POST"),
        ("/v1/jobs/0198c0de-0000-7000-8000-000000000000", "DELETE, GET"),
        ("/healthz", "GET"),
        ("/docs", "GET"),
    ],
)
async def test_405_names_every_method_of_the_path(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    response = await client.request("PATCH", path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/healthz", "/v1/nothing", "/openapi.json"])
async def test_every_answer_has_security_headers(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert response.headers["Cache-Control"] == ("no-cache" if path == "/openapi.json" else "no-store")
