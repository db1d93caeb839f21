"""The pages that the ``type`` of a problem leads to."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from urllib.parse import urljoin

import httpx
import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from pixelflow.contracts.error_guide import GUIDES, titles
from pixelflow.controlplane.api.main import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.services import Services


def _no_services() -> AbstractAsyncContextManager[Services]:
    raise NotImplementedError


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(_no_services, ApiMetrics(CollectorRegistry()), NoOpTracer())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        yield client


async def test_the_type_of_a_problem_is_a_page_that_opens(client: httpx.AsyncClient) -> None:
    response = await client.get("/nowhere")
    page = await client.get(urljoin(str(response.url), response.json()["type"]))
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1>Not found</h1>" in page.text
    assert "What to change" in page.text


async def test_every_code_has_a_page_that_the_index_links_to(client: httpx.AsyncClient) -> None:
    index = (await client.get("/errors")).text
    assert re.findall('href="/errors/([a-z_]+)"', index) == list(GUIDES)
    for code in GUIDES:
        page = (await client.get(f"/errors/{code}")).text
        assert f"<code>{code}</code>" in page
        assert f"<h1>{titles()[code].replace(chr(39), '&#x27;')}</h1>" in page
        assert "`" not in page


async def test_a_page_may_load_only_its_own_style(client: httpx.AsyncClient) -> None:
    page = await client.get("/errors/not_found")
    [style] = re.findall("<style>(.*)</style>", page.text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


async def test_an_unknown_code_is_not_found_and_is_not_repeated(client: httpx.AsyncClient) -> None:
    response = await client.get("/errors/%3Cscript%3E")
    assert response.status_code == 404
    assert "script" not in response.text
