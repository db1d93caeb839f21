"""The steps of a client with a job, in plain HTTP: create, upload, start, wait, download."""

from __future__ import annotations

from typing import Any

import httpx
from tests.acceptance.pictures import photo
from tests.support.waiting import eventually

FINISHED = {"succeeded", "failed", "canceled"}
Json = dict[str, Any]


def resize(step_id: str = "small", **fields: object) -> Json:
    """A step."""
    return {"id": step_id, "action": "resize", "width": 60, **fields}


def create(client: httpx.Client, *steps: Json, size: int | None = None, **fields: Any) -> Json:  # noqa: ANN401
    """Create a job for an upload of so many bytes. Default: those of :func:`pictures.photo`."""
    body: Json = {"pipeline": list(steps) or [resize()], **fields}
    if "object_key" not in fields:
        body["source"] = {"content_length": size or len(photo()), **fields.get("source", {})}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    created: Json = answer.json()
    return created


def upload(created: Json, source: bytes) -> None:
    """Upload the source."""
    upload_request = created["upload"]
    answer = httpx.request(
        upload_request["method"],
        upload_request["presigned_put_url"],
        content=source,
        headers=upload_request["headers"],
        timeout=300,
    )
    assert answer.status_code == 200, answer.text


def start(client: httpx.Client, created: Json) -> httpx.Response:
    """Start a job."""
    return client.post(created["start_url"])


def started(client: httpx.Client, source: bytes, /, *steps: Json, **fields: object) -> Json:
    """Create, upload and start a job; return the response to its creation."""
    created = create(client, *steps, size=len(source), **fields)
    upload(created, source)
    answer = start(client, created)
    assert answer.status_code == 202, answer.text
    return created


def show(client: httpx.Client, job_id: str) -> Json:
    """The job."""
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    job: Json = answer.json()
    return job


def finished(client: httpx.Client, job_id: str, *, seconds: float = 30) -> Json:
    """Wait until the job has finished and return it."""
    job: Json = {}

    def has_finished() -> bool:
        job.update(show(client, job_id))
        return job["status"] in FINISHED

    try:
        eventually(has_finished, seconds)
    except AssertionError as error:
        error.add_note(str(job))
        raise
    return job


def done(client: httpx.Client, source: bytes, /, *steps: Json, **fields: object) -> Json:
    """Run a job from its creation to its end, with any result."""
    return finished(client, started(client, source, *steps, **fields)["job_id"])


def download(output: Json) -> httpx.Response:
    """Download an output."""
    answer = httpx.get(output["download_url"])
    assert answer.status_code == 200, answer.text
    return answer
