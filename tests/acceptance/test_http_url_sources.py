"""Sources by URL, through the HTTP API, the SDK and the command line, from servers of strangers."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import PIXELFLOW
from tests.support.command_line import command_line_of
from tests.support.image_server import ImageServer, Page, chunked, endless, redirect, response, serving, silent
from tests.support.waiting import eventually

from pixelflow.client import Client, UrlSource
from pixelflow.devstack.stack import Stack

TOKEN = "token=s3cr3t"
HTML = b"<!doctype html><html><title>Not here</title></html>"


@pytest.fixture
def server() -> Iterator[ImageServer]:
    """The server of a stranger, in a network that the operator of the tests allows."""
    photo = response(pictures.photo(), Content_Type="text/plain")
    pages: dict[str, Page | list[Page]] = {
        "/photo.jpg": photo,
        "/moved": redirect("/photo.jpg"),
        "/chunked": chunked(pictures.photo()),
        "/busy": [response(b"", "503 Busy"), photo],
        "/cut": [response(pictures.photo(), length=10**6), photo],
        "/page": response(HTML, Content_Type="image/jpeg"),
        "/inside": redirect("http://10.0.0.1/"),
        "/endless": endless,
        "/silent": silent,
    }
    with serving(pages) as running:
        yield running


def create(client: httpx.Client, url: str, **fields: object) -> httpx.Response:
    body = {"source": {"url": url}, "pipeline": [steps.resize(format="webp")], "auto_start": True, **fields}
    return client.post("/v1/jobs", json=body)


def run(client: httpx.Client, url: str) -> steps.Json:
    """Run a job to its end, with any result."""
    answer = create(client, url)
    assert answer.status_code == 202, answer.text
    created = answer.json()
    assert created["upload"] | {"presigned_put_url": None, "presigned_url_state": "not_required"} == created["upload"]
    return steps.finished(client, created["job_id"])


@pytest.mark.parametrize("path", ["/photo.jpg", "/moved", "/chunked"])
def test_a_worker_fetches_the_source(client: httpx.Client, server: ImageServer, path: str) -> None:
    job = run(client, f"{server.url}{path}?{TOKEN}")
    assert job["status"] == "succeeded", job
    source = job["source"]
    assert (source["type"], source["url"], source["object_key"]) == ("url", f"{server.url}{path}", "")
    assert (source["bytes"], source["sha256"]) == (
        len(pictures.photo()),
        hashlib.sha256(pictures.photo()).hexdigest(),
    )
    assert job["outputs"][0]["format"] == "webp"
    assert steps.download(job["outputs"][0]).content


@pytest.mark.parametrize("path", ["/busy", "/cut"])
def test_a_server_that_fails_once_is_asked_again(client: httpx.Client, server: ImageServer, path: str) -> None:
    job = run(client, server.url + path)
    assert (job["status"], job["attempts"]) == ("succeeded", 2)


def test_the_command_line_shows_why_an_attempt_is_repeated(
    service: Stack, client: httpx.Client, server: ImageServer
) -> None:
    del service
    server.pages["/busy"] = [response(b"", "503 Busy"), response(pictures.photo())]
    ran = command_line_of(client)("submit", f"{server.url}/busy?{TOKEN}", "--resize", "60", "--wait")
    assert ran.returncode == 0, ran.stderr
    [line] = ran.stderr.splitlines()
    assert re.fullmatch(r"busy: attempt 1 of \d failed, trying again: .*503.* \(source_url_unavailable\)", line), line


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/missing", "source_url_status"),
        ("/inside", "source_url_refused"),
        ("/endless", "source_too_large"),
        ("/page", "unsupported_format"),
    ],
)
def test_a_source_that_can_not_be_had_fails_its_job(
    client: httpx.Client, server: ImageServer, path: str, code: str
) -> None:
    job = run(client, f"{server.url}{path}?{TOKEN}")
    assert (job["status"], job["error"]["code"], job["attempts"]) == ("failed", code, 1)
    assert "s3cr3t" not in str(job)
    assert path not in job["error"]["message"]


def test_a_slow_server_delays_nobody_else(new_client: Callable[[], httpx.Client], server: ImageServer) -> None:
    slow, other = new_client(), new_client()
    job_ids = [create(slow, f"{server.url}/silent").json()["job_id"] for _ in range(20)]
    eventually(lambda: server.open >= 2)
    with serving({"/photo.jpg": response(pictures.photo())}) as prompt:
        assert run(other, f"{prompt.url}/photo.jpg")["status"] == "succeeded"
    assert steps.done(other, pictures.photo())["status"] == "succeeded"
    for job_id in job_ids:
        slow.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    eventually(lambda: not server.open)


def test_a_source_by_url_can_be_processed_again_if_it_is_the_same(client: httpx.Client, server: ImageServer) -> None:
    first = run(client, f"{server.url}/photo.jpg?{TOKEN}")
    body = {"source": {"job": first["job_id"]}, "pipeline": [steps.resize("tiny", width=30)], "auto_start": True}
    again = steps.finished(client, client.post("/v1/jobs", json=body).json()["job_id"])
    assert (again["status"], again["source"]["type"]) == ("succeeded", "url")
    assert server.count(f"/photo.jpg?{TOKEN}") == 2
    server.pages["/photo.jpg"] = [response(pictures.photo(width=90))]
    changed = steps.finished(client, client.post("/v1/jobs", json=body).json()["job_id"])
    assert changed["error"]["code"] == "source_changed"


@pytest.mark.parametrize(
    ("source", "pointer", "message"),
    [
        ({"url": "http://10.0.0.1/a.jpg"}, "/source/url", "must have a public address"),
        ({"url": "https://user:pw@img.example/a.jpg"}, "/source/url", "must not contain a user name or password"),
        ({"url": "https://img.example:22/a.jpg"}, "/source/url", "must use port 80, port 443, or a port from 1024"),
        ({"url": "ftp://img.example/a.jpg"}, "/source/url", "must be an https URL such as https://img.example/a.jpg"),
        ({"url": "https://img.example/" + "a" * 2048}, "/source/url", "at most 2048"),
        ({"url": "https://img.example/a#b"}, "/source/url", "must not contain a fragment"),
        ({"url": "https://img.example/a b"}, "/source/url", ""),
        ({"url": "https://img.example/a", "job": "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"}, "/source/url", "combined"),
        ({"url": "https://img.example/a", "content_length": 9}, "/source/content_length", "only for an upload"),
    ],
)
def test_a_url_is_checked_when_the_job_is_created(
    client: httpx.Client, source: steps.Json, pointer: str, message: str
) -> None:
    answer = client.post("/v1/jobs", json={"source": source, "pipeline": [steps.resize()]})
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]
    assert "pw" not in answer.text


def test_the_sdk_processes_a_url(client: httpx.Client, server: ImageServer) -> None:
    source = UrlSource(f"{server.url}/photo.jpg?{TOKEN}")
    assert "s3cr3t" not in repr(source)
    with Client(str(client.base_url), client.headers["Authorization"].removeprefix("Bearer ")) as pixelflow:
        job = pixelflow.process(source, [steps.resize()])
    assert (job.status, job.source.url) == ("succeeded", f"{server.url}/photo.jpg")


def test_the_command_line_processes_urls_beside_files(
    service: Stack, client: httpx.Client, server: ImageServer, tmp_path: Path
) -> None:
    (tmp_path / "file.jpg").write_bytes(pictures.photo())
    environment = {
        "PIXELFLOW_API_URL": str(client.base_url),
        "PIXELFLOW_API_KEY": client.headers["Authorization"].removeprefix("Bearer "),
    }
    del service
    urls = [f"{server.url}/photo.jpg?{TOKEN}", f"{server.url}/moved"]
    done = subprocess.run(
        [*PIXELFLOW, "submit", *urls, "file.jpg", "--resize", "60", "--out", "done"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "done").iterdir()} == {"file-60.jpg", "photo-60.jpg", "moved-60.jpg"}
    assert "s3cr3t" not in done.stdout + done.stderr
