"""What the shops with FastAPI and with Django share: the job of a photo, and what the shop stores of it.

Only the size and the type of a photo come from the visitor. All else of a job is the shop's: a visitor who could name a
URL, a bucket or an earlier job would read it with the key of the shop.
"""  # noqa: INP001  # of scripts

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixelflow.client import ApiError, ConnectionFailedError, JobEvent
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob

PAGE = Path(__file__).parent / "shop-page"
CLIENT = Path(__file__).parents[1] / "clients" / "typescript" / "dist"
"""The built TypeScript client; a project with a bundler imports `pixelflow-client/browser` instead."""
MAX_PHOTO_BYTES = 20_000_000
MAX_BODY_BYTES = 2_500_000
"""Longest body of a request to the shop; also the default of Django. A webhook has a few kilobytes."""
JOB = {
    "pipeline": [
        {"id": "large", "action": "resize", "width": 960, "format": "webp"},
        {"id": "small", "action": "resize", "width": 320, "format": "webp"},
        {"id": "square", "action": "resize", "width": 160, "height": 160, "fit": "cover", "format": "webp"},
    ],
    "auto_start": True,
    "destination": {
        "bucket": "public",
        "key": "photos/{job_id}/{step}-{sha256}.{ext}",
        "cache_control": "public, max-age=31536000, immutable",
    },
    "webhook_url": f"{os.environ['SHOP_URL']}/hooks/pixelflow",
}
"""What all photos have in common. ``pixelflow up`` has the bucket ``public``."""
_SERVER_ERROR = 500

photos: dict[str, dict[str, Any]] = {}
"""By the ID of the job: its status and the final URLs of its sizes."""


class NewPhoto(BaseModel):
    """What a visitor declares of a chosen file: the result of `declaredSource`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    content_length: Annotated[int, Field(gt=0, le=MAX_PHOTO_BYTES)]
    content_type: Annotated[str | None, Field(pattern=r"^image/[a-z0-9.+-]{1,60}$")] = None


def request_of(body: bytes) -> CreateJobRequest:
    """Return the request for the job of a photo that a visitor declares.

    Raises:
        ValueError: it can't be used; the message is for the visitor.
    """
    try:
        photo = NewPhoto.model_validate_json(body)
        return CreateJobRequest.model_validate({**JOB, "source": photo.model_dump(exclude_none=True)})
    except ValidationError as error:
        text = f"A photo must be an image of at most {MAX_PHOTO_BYTES} bytes"
        raise ValueError(text) from error


def problem_of(error: ApiError | ConnectionFailedError) -> tuple[int, str]:
    """Return the status and the message for a visitor whose photo has no job."""
    if isinstance(error, ApiError) and error.status < _SERVER_ERROR:
        return 422, error.detail
    return 503, "Photos can't be added now: try again later"


def add(created: CreatedJob) -> dict[str, Any]:
    """Store a photo that is to be uploaded, and return what the page needs. The upload starts the job."""
    photos[str(created.job_id)] = {"status": "created", "sizes": []}
    return {"photo": str(created.job_id), "upload": created.upload.model_dump(mode="json")}


def ready() -> list[dict[str, Any]]:
    """Return the photos that are ready, oldest first."""
    return [photo for photo in photos.values() if photo["status"] == "succeeded"]


def progress(event: JobEvent) -> str:
    """Return an event of a job for the page, as a server-sent event."""
    return _server_sent({"status": event.status, "stage": event.stage})


def result(job: dict[str, Any]) -> str:
    """Store a finished job, and return its sizes for the page, as a server-sent event."""
    return _server_sent(_store(job))


def receive(event: dict[str, Any]) -> None:
    """Store the job of a webhook, also when nobody has the page open any more."""
    if event["data"].get("job_id") in photos:
        _store(event["data"])


def _store(job: dict[str, Any]) -> dict[str, Any]:
    """Store what the shop shows of a finished job. Storing it twice, as for a repeated webhook, changes nothing."""
    sizes = [{name: output[name] for name in ("step_id", "width", "height", "url")} for output in job["outputs"]]
    problem = job["error"]["message"] if job["error"] else None
    photos[job["job_id"]] = {"status": job["status"], "sizes": sizes, "problem": problem}
    return photos[job["job_id"]]


def _server_sent(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
