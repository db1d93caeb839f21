"""Assets through the HTTP API, into the pixels of an output."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from PIL import Image
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.support.waiting import eventually

RED, BLUE = (200, 0, 0), (0, 0, 200)


def _add(client: httpx.Client, name: str, color: tuple[int, ...]) -> str:
    """Keep a picture of 20 × 10 pixels; return its ID."""
    content = pictures.saved(Image.new("RGB", (20, 10), color), "PNG")
    body = {"name": name, "source": {"content_length": len(content), "content_type": "image/png"}}
    created = client.post("/v1/assets", json=body).json()
    steps.upload(created, content)
    assert client.post(created["complete_url"]).json()["status"] == "ready"
    return str(created["asset_id"])


def _overlay(step_id: str, asset: str, **fields: object) -> steps.Json:
    return {"id": step_id, "action": "overlay", "image": {"asset": asset}, "x": 10, "y": 10, "format": "png", **fields}


def _colors(job: steps.Json) -> list[tuple[int, ...]]:
    """The colors at (12, 12) of the outputs."""
    assert job["status"] == "succeeded", job["error"]
    return [pictures.color(pictures.opened(steps.download(output).content), 12, 12) for output in job["outputs"]]


def _is_missing(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.NOT_FOUND
    except httpx.TransportError:  # the S3 server closes the connection if the object is deleted while it sends it
        return False


def test_assets_are_drawn_by_name_and_by_id(client: httpx.Client) -> None:
    _add(client, "red", RED)
    blue = _add(client, "blue", BLUE)
    job = steps.done(client, pictures.photo(), _overlay("a", "red"), _overlay("b", blue), _overlay("c", "red"))
    assert _colors(job) == [RED, BLUE, RED]


def test_a_job_keeps_the_asset_that_a_name_meant_when_it_was_created(client: httpx.Client) -> None:
    """Deleted before the start, it is gone; the new asset with its name is not used in its place."""
    red = _add(client, "logo", RED)
    file = client.get("/v1/assets/logo").json()["download_url"]
    jobs = [steps.create(client, _overlay("a", reference)) for reference in (red, "logo")]
    assert client.delete(f"/v1/assets/{red}").status_code == 204
    _add(client, "logo", BLUE)
    eventually(lambda: _is_missing(file))
    for created in jobs:
        steps.upload(created, pictures.photo())
        assert steps.start(client, created).status_code == 202
        job = steps.finished(client, created["job_id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "asset_gone")
    assert _colors(steps.done(client, pictures.photo(), _overlay("a", "logo"))) == [BLUE]


@pytest.mark.parametrize("by", ["name", "id"])
def test_another_users_asset_can_not_be_used(new_client: Callable[[], httpx.Client], by: str) -> None:
    owner, other = new_client(), new_client()
    asset_id = _add(owner, "logo", RED)
    body: steps.Json = {"source": {"content_length": 1}}
    body["pipeline"] = [steps.resize(), _overlay("a", "logo" if by == "name" else asset_id)]
    answer = other.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/pipeline/1/image/asset"]
    assert owner.post("/v1/jobs", json=body).status_code == 202


def test_an_asset_that_is_no_image_fails_the_job_and_is_named(client: httpx.Client) -> None:
    content = b"a text"
    body = {"name": "logo", "source": {"content_length": len(content)}}
    created = client.post("/v1/assets", json=body).json()
    steps.upload(created, content)
    client.post(created["complete_url"]).raise_for_status()
    job = steps.done(client, pictures.photo(), _overlay("a", "logo"))
    assert (job["status"], job["error"]["code"]) == ("failed", "unsupported_format")
    assert "asset `logo`" in job["error"]["message"]
