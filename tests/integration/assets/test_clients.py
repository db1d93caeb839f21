"""Assets by HTTP, by both clients of the SDK, and on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs
from tests.acceptance import pictures
from tests.integration.identity.conftest import serving
from typer.testing import CliRunner, Result

from pixelflow.adapters.postgres.database import Connection
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.cli.app import build_app
from pixelflow.client import ApiError, AsyncClient, Client, InvalidRequestError
from pixelflow.client.session import Session
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.settings import Settings

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def api(quiet: Settings) -> Iterator[str]:
    with serving(quiet.model_copy(update={"rate_limit_enabled": False, "max_asset_bytes": 10_000})) as url:
        yield url


@pytest.fixture
def session(api: str, quiet: Settings) -> Session:
    key = issue_key(quiet.database_url.get_secret_value(), user_id=f"user-{uuid4()}", name="test")
    return Session(api, key)


@pytest.fixture
def http(session: Session) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=session.api_url, headers=session.headers()) as client:
        yield client


@pytest.fixture(params=[Client, AsyncClient])
def call(request: pytest.FixtureRequest, session: Session) -> Call:
    """``call("get_asset", name)`` on either client."""

    def call(operation: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401  # whatever it returns
        if request.param is Client:
            with Client(session=session) as client:
                return getattr(client, operation)(*arguments, **named)

        async def run() -> Any:  # noqa: ANN401  # as above
            async with AsyncClient(session=session) as client:
                return await getattr(client, operation)(*arguments, **named)

        return asyncio.run(run())

    return call


@pytest.fixture
def logo(tmp_path: Path) -> Path:
    path = tmp_path / "logo.jpg"
    path.write_bytes(pictures.photo())
    return path


def test_an_asset_is_added_listed_and_deleted(call: Call, logo: Path) -> None:
    asset = call("create_asset", logo)
    assert (asset.name, asset.status, asset.content_type) == ("logo", "ready", "image/jpeg")
    assert httpx.get(asset.download_url).content == logo.read_bytes()
    named = call("create_asset", logo, name="badge")
    assert [each.name for each in call("list_assets").data] == ["badge", "logo"]
    assert call("get_asset", "badge").asset_id == call("get_asset", named.asset_id).asset_id == named.asset_id
    call("delete_asset", named.asset_id)
    assert [each.name for each in call("list_assets").data] == ["logo"]
    with pytest.raises(ApiError, match="no asset") as raised:
        call("get_asset", "badge")
    assert raised.value.code == "not_found"


def test_an_upload_that_fails_leaves_no_asset(call: Call, logo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = ObjectStorage.sign_upload

    def sign_for_another_key(storage: ObjectStorage, key: str, **options: Any) -> object:  # noqa: ANN401
        return sign(storage, f"{key}-elsewhere", **options)

    monkeypatch.setattr(ObjectStorage, "sign_upload", sign_for_another_key)
    with pytest.raises(ApiError) as raised:
        call("create_asset", logo)
    assert raised.value.code == "source_missing"
    assert call("list_assets").data == []


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "ä", "0198f2c5-1f0a-7c44-8a0e-6d3b5c9e1f27"])
def test_a_name_that_is_not_valid_is_rejected_before_anything_is_sent(call: Call, logo: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        call("create_asset", logo, name=name)
    assert [error.pointer for error in raised.value.errors] == ["/name"]


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({}, "/source/content_length"),
        ({"content_length": 10_001}, "/source/content_length"),
        ({"content_length": 0}, "/source/content_length"),
        ({"content_length": 1, "content_type": "png"}, "/source/content_type"),
    ],
)
def test_an_invalid_source_is_rejected(http: httpx.Client, source: dict[str, object], pointer: str) -> None:
    answer = http.post("/v1/assets", json={"name": "logo", "source": source})
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])


def test_a_repeated_request_renews_the_upload_url_and_creates_nothing(http: httpx.Client) -> None:
    body, key = {"name": "logo", "source": {"content_length": 3}}, {"Idempotency-Key": "first"}
    first, second = (http.post("/v1/assets", json=body, headers=key).json() for _ in range(2))
    assert first["asset_id"] == second["asset_id"]
    assert httpx.put(second["upload"]["presigned_put_url"], content=b"abc").status_code == 200
    done = [http.post(first["complete_url"], headers={"Idempotency-Key": "second"}).json() for _ in range(2)]
    assert [each["status"] for each in done] == ["ready", "ready"]
    assert httpx.get(done[1]["download_url"]).content == b"abc"
    again = http.post("/v1/assets", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "asset_exists")


def test_scopes_of_jobs_apply(http: httpx.Client, session: Session) -> None:
    def key_with(scope: str) -> httpx.Client:
        key = http.post("/v1/keys", json={"name": "n", "scopes": [scope]}).json()["key"]
        return httpx.Client(base_url=session.api_url, headers={"Authorization": f"Bearer {key}"})

    body = {"name": "logo", "source": {"content_length": 3}}
    with key_with("jobs:read") as reader, key_with("jobs:write") as writer:
        assert reader.post("/v1/assets", json=body).status_code == 403
        assert writer.post("/v1/assets", json=body).status_code == 201
        assert writer.get("/v1/assets").status_code == 403
        [asset] = reader.get("/v1/assets").json()["data"]
        assert reader.delete(f"/v1/assets/{asset['asset_id']}").status_code == 403
        assert writer.delete(f"/v1/assets/{asset['asset_id']}").status_code == 204


def test_the_command_line_adds_lists_and_deletes(
    session: Session, logo: Path, monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    del connection
    monkeypatch.setenv("PIXELFLOW_API_URL", session.api_url)
    monkeypatch.setenv("PIXELFLOW_API_KEY", session.api_key)

    def pixelflow(*arguments: object) -> Result:
        with capture_logs():  # of the API, which runs in this process
            return CliRunner().invoke(build_app(), ["assets", *map(str, arguments)])

    added = pixelflow("add", logo, "--name", "brand", "--json")
    assert added.exit_code == 0, added.output
    assert json.loads(added.stdout)["name"] == "brand"
    assert "Added logo" in pixelflow("add", logo).stderr
    rows = pixelflow("list").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["Name", "brand", "logo"]
    assert pixelflow("delete", "brand").exit_code == 0
    assert [each["name"] for each in json.loads(pixelflow("list", "--json").stdout)["data"]] == ["logo"]
    gone = pixelflow("delete", "brand")
    assert (gone.exit_code != 0, "no asset" in gone.stderr) == (True, True)
