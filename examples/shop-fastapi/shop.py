"""A shop whose photos are uploaded by the browser, straight to object storage, and processed by PixelFlow.

    npm --prefix clients/typescript ci && npm --prefix clients/typescript run build
    export PIXELFLOW_URL=… PIXELFLOW_API_KEY=… PIXELFLOW_WEBHOOK_SECRET=whsec_… SHOP_URL=http://127.0.0.1:8000
    uvicorn --app-dir examples/shop-fastapi shop:app

The key of PixelFlow stays here: the page gets only the presigned upload of one job. Photos are kept in memory; a real
shop keeps them in its database, each with the user who may see it.
"""  # noqa: INP001  # a script

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from standardwebhooks import Webhook, WebhookVerificationError

from pixelflow.client import ApiError, AsyncClient
from pixelflow.contracts.jobs.requests import CreateJobRequest

EXAMPLES = Path(__file__).parents[1]
PAGE = EXAMPLES / "shop-page"
CLIENT = EXAMPLES.parent / "clients" / "typescript" / "dist"
"""The built TypeScript client; a project with a bundler imports `pixelflow-client/browser` instead."""
SIZES = [
    {"id": "large", "action": "resize", "width": 960, "format": "webp"},
    {"id": "small", "action": "resize", "width": 320, "format": "webp"},
    {"id": "square", "action": "resize", "width": 160, "height": 160, "fit": "cover", "format": "webp"},
]

pixelflow = AsyncClient(os.environ["PIXELFLOW_URL"], os.environ["PIXELFLOW_API_KEY"])
webhook = Webhook(os.environ["PIXELFLOW_WEBHOOK_SECRET"])
photos: dict[str, dict[str, Any]] = {}
"""By the ID of the job: its status and sizes."""
seen_events: set[str] = set()


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
    """Create a job, and return where the page uploads the photo to."""
    request = CreateJobRequest.model_validate(
        {
            "source": photo.model_dump(exclude_none=True),
            "pipeline": SIZES,
            "webhook_url": f"{os.environ['SHOP_URL']}/hooks/pixelflow",
        }
    )
    try:
        created = await pixelflow.create_job(request)
    except ApiError as error:
        raise HTTPException(422 if error.status < 500 else 503, error.detail) from error  # noqa: PLR2004
    photos[str(created.job_id)] = {"status": "created", "sizes": []}
    return {"photo": str(created.job_id), "upload": created.upload.model_dump(mode="json")}


@app.post("/photos/{photo}/start")
async def start_photo(photo: str) -> dict[str, Any]:
    """Start the job of an uploaded photo."""
    found = _find(photo)
    try:
        await pixelflow.start_job(photo)
    except ApiError as error:
        raise HTTPException(409, error.detail) from error
    return found


@app.get("/photos/{photo}")
async def show_photo(photo: str) -> dict[str, Any]:
    """The status of a photo, and its sizes once PixelFlow's webhook has named them."""
    return _find(photo)


@app.post("/hooks/pixelflow")
async def receive_webhook(request: Request) -> Response:
    """Store the result of a job, once, if PixelFlow signed it."""
    try:
        event = webhook.verify(await request.body(), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return Response(status_code=401)
    job = event["data"]
    if request.headers["webhook-id"] not in seen_events and job.get("job_id") in photos:
        sizes = [{name: output[name] for name in ("step_id", "width", "height")} for output in job["outputs"]]
        urls = [output["download_url"] for output in job["outputs"]]
        found = [size | {"url": url} for size, url in zip(sizes, urls, strict=True)]
        photos[job["job_id"]] = {"status": job["status"], "sizes": found}
        seen_events.add(request.headers["webhook-id"])
    return Response(status_code=204)


def _find(photo: str) -> dict[str, Any]:
    if photo not in photos:
        raise HTTPException(404)
    return photos[photo]


@app.get("/")
async def page() -> FileResponse:
    """The page with the drop zone."""
    return FileResponse(PAGE / "index.html")


app.mount("/static", StaticFiles(directory=PAGE))
app.mount("/pixelflow", StaticFiles(directory=CLIENT))
