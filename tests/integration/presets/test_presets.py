"""Presets by HTTP, by both clients of the SDK, and on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs
from tests.integration.identity.conftest import serving
from typer.testing import CliRunner, Result

from pixelflow.cli.app import build_app
from pixelflow.client import AsyncClient, Client, InvalidRequestError
from pixelflow.client.session import Session
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.settings import Settings

SIZE = {"size": {"type": "integer", "default": 320, "minimum": 16}}
STEPS: list[dict[str, Any]] = [{"id": "a", "action": "resize", "width": "${size}", "format": "webp"}]
AVATAR = {"name": "avatar", "parameters": SIZE, "pipeline": STEPS}


@pytest.fixture(scope="module")
def api(quiet: Settings) -> Iterator[str]:
    with serving(quiet.model_copy(update={"rate_limit_enabled": False, "max_presets": 2})) as url:
        yield url


@pytest.fixture
def session(api: str, quiet: Settings) -> Session:
    return Session(api, issue_key(quiet.database_url.get_secret_value(), user_id=f"user-{uuid4()}", name="test"))


@pytest.fixture
def http(session: Session) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=session.api_url, headers=session.headers()) as client:
        yield client


def save(http: httpx.Client, **changes: object) -> httpx.Response:
    return http.post("/v1/presets", json=AVATAR | changes)


def create(http: httpx.Client, **fields: object) -> httpx.Response:
    return http.post("/v1/jobs", json={"source": {"content_length": 9}} | fields)


def pointers(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["pointer"] for error in answer.json()["errors"]]


def test_changed_content_makes_a_version_and_the_same_content_none(http: httpx.Client) -> None:
    changed = [STEPS[0] | {"format": "avif"}]
    answers = [save(http), save(http), save(http, pipeline=changed), save(http, pipeline=changed), save(http)]
    assert [(each.status_code, each.json()["version"]) for each in answers] == [
        *((201, 1), (200, 1), (201, 2), (200, 2), (201, 3))
    ]
    assert [each["version"] for each in http.get("/v1/presets/avatar").json()["versions"]] == [3, 2, 1]
    assert http.get("/v1/presets/avatar@2").json()["pipeline"] == changed
    assert [(each["name"], each["version"]) for each in http.get("/v1/presets").json()["data"]] == [("avatar", 3)]


def test_a_job_keeps_what_its_preset_was(http: httpx.Client) -> None:
    save(http)
    by_default = create(http, preset="avatar").json()["job_id"]
    sized = create(http, preset="avatar@1", parameters={"size": 200}).json()["job_id"]
    save(http, pipeline=[STEPS[0] | {"format": "avif"}])
    assert http.delete("/v1/presets/avatar").status_code == 204
    jobs = [http.get(f"/v1/jobs/{job}").json() for job in (by_default, sized)]
    assert [job["pipeline"][0]["width"] for job in jobs] == [320, 200]
    assert [job["preset"] for job in jobs] == [
        {"name": "avatar", "version": 1, "parameters": {"size": size}} for size in (320, 200)
    ]
    assert pointers(create(http, preset="avatar")) == ["/preset"]
    assert http.delete("/v1/presets/avatar").status_code == http.get("/v1/presets/avatar").status_code == 404
    assert save(http).json()["version"] == 3  # `avatar@1` never means another pipeline


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"preset": "avatar", "parameters": {"size": 9}}, ["/parameters/size"]),
        ({"preset": "avatar", "parameters": {"size": 99_999}}, ["/parameters/size"]),
        ({"preset": "avatar", "parameters": {"size": "9"}}, ["/parameters/size"]),
        ({"preset": "avatar", "parameters": {"sise": 9}}, ["/parameters/sise"]),
        ({"preset": "avatar@2"}, ["/preset"]),
        ({"preset": "avatar", "pipeline": [STEPS[0] | {"width": 9}]}, ["/preset"]),
        ({"parameters": {"size": 9}, "pipeline": [STEPS[0] | {"width": 9}]}, ["/parameters"]),
        ({}, ["/pipeline"]),
    ],
)
def test_an_error_points_to_the_parameter(http: httpx.Client, fields: dict[str, object], expected: list[str]) -> None:
    save(http)
    assert pointers(create(http, **fields)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"parameters": {}}, ["/pipeline/0/width"]),
        ({"parameters": SIZE | {"other": {"type": "string"}}}, ["/parameters/other"]),
        ({"parameters": {"size": {"type": "string"}}}, ["/pipeline/0/width"]),
        ({"parameters": {"size": {"type": {}}}}, ["/parameters/size/type"]),
        ({"parameters": {"size": {"type": "integer", "default": 99_999}}}, ["/pipeline/0/width"]),
        ({"parameters": {"size": {"type": "integer", "default": "x"}}}, ["/parameters/size/default"]),
        ({"pipeline": [STEPS[0] | {"action": "${size}"}]}, ["/pipeline/0/action"]),
        ({"pipeline": [STEPS[0] | {"id": "${size}"}]}, ["/pipeline/0/id"]),
        ({"pipeline": [STEPS[0] | {"widht": 1}]}, ["/pipeline/0/widht"]),
        ({"name": "Avatar"}, ["/name"]),
    ],
)
def test_an_invalid_preset_is_refused(http: httpx.Client, changes: dict[str, object], expected: list[str]) -> None:
    assert pointers(save(http, **changes)) == expected


def test_presets_are_limited_and_belong_to_their_user(http: httpx.Client, api: str, quiet: Settings) -> None:
    answers = [save(http, name=name) for name in ("a", "b", "c", "a")]
    assert [each.status_code for each in answers] == [201, 201, 409, 200]
    assert answers[2].json()["code"] == "too_many_presets"
    key = issue_key(quiet.database_url.get_secret_value(), user_id=f"user-{uuid4()}", name="test")
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {key}"}) as other:
        assert other.get("/v1/presets/a").status_code == other.delete("/v1/presets/a").status_code == 404
        assert pointers(create(other, preset="a")) == ["/preset"]
        assert other.get("/v1/presets").json() == {"data": []}


def test_both_clients_save_and_use_presets(session: Session, tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"not read here")
    with Client(session=session) as client:
        assert client.save_preset("avatar", STEPS, parameters=SIZE).version == 1
        started = client.submit(photo, preset="avatar", parameters={"size": 64})
        with pytest.raises(InvalidRequestError):
            client.save_preset("avatar", STEPS)

    async def look() -> Any:  # noqa: ANN401 - a job
        async with AsyncClient(session=session) as client:
            assert [each.name for each in (await client.list_presets()).data] == ["avatar"]
            job = await client.get_job(started.job_id)
            await client.delete_preset("avatar")
            return job

    assert asyncio.run(look()).preset.parameters == {"size": 64}


def test_the_command_line_saves_shows_uses_and_deletes(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELFLOW_API_URL", session.api_url)
    monkeypatch.setenv("PIXELFLOW_API_KEY", session.api_key)
    file, photo = tmp_path / "avatar.json", tmp_path / "a.jpg"
    file.write_text(json.dumps(AVATAR))
    photo.write_bytes(b"not read here")

    def pixelflow(*arguments: object) -> Result:
        with capture_logs():  # of the API, which runs in this process
            return CliRunner().invoke(build_app(), [*map(str, arguments)])

    assert "Saved avatar@1" in pixelflow("presets", "save", file).stderr
    assert json.loads(pixelflow("presets", "show", "avatar").stdout) == AVATAR
    assert pixelflow("presets", "list").stdout.splitlines()[1].split()[:3] == ["avatar", "1", "size"]
    sent = pixelflow("submit", photo, "--preset", "avatar@1", "--param", "size=200", "--json")
    assert sent.exit_code == 0, sent.output
    [job] = json.loads(sent.stdout)["jobs"]
    shown = json.loads(pixelflow("jobs", "show", job["job_id"], "--json").stdout)
    assert shown["preset"] == {"name": "avatar", "version": 1, "parameters": {"size": 200}}
    assert "/parameters/size" in pixelflow("submit", photo, "--preset", "avatar", "--param", "size=x").stderr
    assert pixelflow("presets", "delete", "avatar").exit_code == 0
