"""Stable URLs of outputs, which redirect to object storage."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance.pictures import photo


def _url(job: steps.Json, step: str = "small") -> str:
    return f"/v1/jobs/{job['job_id']}/outputs/{step}"


def _problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_get_and_head_of_an_output_lead_to_its_file(client: httpx.Client) -> None:
    job = steps.done(client, photo(), steps.resize(format="webp"))
    content = steps.download(job["outputs"][0]).content
    for method, body in (("GET", content), ("HEAD", b"")):
        redirect = client.request(method, _url(job))
        assert (redirect.status_code, redirect.content) == (307, b"")
        assert redirect.headers["cache-control"] == "no-store", "the location is a credential"
        answer = client.request(method, _url(job), follow_redirects=True)
        assert (answer.status_code, answer.content) == (200, body)
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["content-type"] == "image/webp"
        assert "authorization" not in answer.request.headers


def test_what_is_not_there_has_no_url(client: httpx.Client) -> None:
    job = steps.done(client, photo(), steps.resize())
    assert _problem(client.get(_url(job, "other"))) == (409, "output_missing")
    created = steps.create(client)
    assert _problem(client.get(_url(created))) == (409, "output_missing")
    assert _problem(client.get(_url({"job_id": uuid4()}))) == (404, "not_found")
    assert client.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
    assert client.head(_url(job)).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nobody_gets_the_output_of_another_user(new_client: Callable[[], httpx.Client], method: str) -> None:
    owner, other = new_client(), new_client()
    job = steps.done(owner, photo(), steps.resize())
    assert other.request(method, _url(job)).status_code == 404
    assert httpx.request(method, f"{owner.base_url}{_url(job)}").status_code == 401
