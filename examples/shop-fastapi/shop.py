"""A shop whose photos are uploaded by the browser, straight to object storage, and processed by PixelFlow.

    npm --prefix clients/typescript ci && npm --prefix clients/typescript run build
    export PIXELFLOW_URL=… PIXELFLOW_API_KEY=… PIXELFLOW_WEBHOOK_SECRET=whsec_… SHOP_URL=http://127.0.0.1:8000
    uvicorn --app-dir examples/shop-fastapi shop:app

The key of PixelFlow stays here: the page gets only the presigned upload of one job. Photos are kept in memory; a real
shop keeps them in its database, each with the user who may see it.
"""  # noqa: INP001  # a script

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from standardwebhooks import Webhook, WebhookVerificationError

from pixelflow.client import ApiError, AsyncClient
from pixelflow.contracts.jobs.requests import CreateJobRequest

EXAMPLES = Path(__file__).parents[1]
PAGE = EXAMPLES / "shop-page"
CLIENT = EXAMPLES.parent / "clients" / "typescript" / "dist"
"""The built TypeScript client; a project with a bundler imports `pixelflow-client/browser` instead."""
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

pixelflow = AsyncClient(os.environ["PIXELFLOW_URL"], os.environ["PIXELFLOW_API_KEY"])
webhook = Webhook(os.environ["PIXELFLOW_WEBHOOK_SECRET"])
photos: dict[str, dict[str, Any]] = {}
"""By the ID of the job: its status and the final URLs of its sizes."""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the client's connections when the shop stops."""
    async with pixelflow:
        yield


app = FastAPI(title="Shop", lifespan=lifespan)


class NewPhoto(BaseModel):
    """What the page knows of a chosen file: the result of `declaredSource`."""

    content_length: Annotated[int, Field(gt=0, le=20_000_000)]
    content_type: str | None = None


@app.post("/photos")
async def create_photo(photo: NewPhoto) -> dict[str, Any]:
    """Create a job, and return where the page uploads the photo to. The upload starts the job."""
    request = CreateJobRequest.model_validate({**JOB, "source": photo.model_dump(exclude_none=True)})
    try:
        created = await pixelflow.create_job(request)
    except ApiError as error:
        raise HTTPException(422 if error.status < 500 else 503, error.detail) from error  # noqa: PLR2004
    photos[str(created.job_id)] = {"status": "created", "sizes": []}
    return {"photo": str(created.job_id), "upload": created.upload.model_dump(mode="json")}


@app.get("/photos")
async def list_photos() -> list[dict[str, Any]]:
    """The photos that are ready, oldest first."""
    return [photo for photo in photos.values() if photo["status"] == "succeeded"]


@app.get("/photos/{photo}/events")
async def watch_photo(photo: str) -> StreamingResponse:
    """Pass on what happens to a photo, as server-sent events. The last one has its sizes."""
    if photo not in photos:
        raise HTTPException(404)
    return StreamingResponse(_events(photo), media_type="text/event-stream")


async def _events(photo: str) -> AsyncIterator[str]:
    async for event in pixelflow.events(photo):
        yield _server_sent({"status": event.status, "stage": event.stage})
    job = await pixelflow.get_job(photo)
    yield _server_sent(_store(job.model_dump(mode="json")))


def _server_sent(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


@app.post("/hooks/pixelflow")
async def receive_webhook(request: Request) -> Response:
    """Store the result of a job if PixelFlow signed it, also when nobody has the page open any more."""
    try:
        event = webhook.verify(await request.body(), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return Response(status_code=401)
    if event["data"].get("job_id") in photos:
        _store(event["data"])
    return Response(status_code=204)


def _store(job: dict[str, Any]) -> dict[str, Any]:
    """Store what the shop shows of a finished job. Storing it twice, as for a repeated webhook, changes nothing."""
    sizes = [{name: output[name] for name in ("step_id", "width", "height", "url")} for output in job["outputs"]]
    problem = job["error"]["message"] if job["error"] else None
    photos[job["job_id"]] = {"status": job["status"], "sizes": sizes, "problem": problem}
    return photos[job["job_id"]]


@app.get("/")
async def page() -> FileResponse:
    """The page with the drop zone."""
    return FileResponse(PAGE / "index.html")


app.mount("/static", StaticFiles(directory=PAGE))
app.mount("/pixelflow", StaticFiles(directory=CLIENT))
