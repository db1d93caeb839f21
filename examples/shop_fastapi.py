"""A shop whose photos are uploaded by the browser, straight to object storage, and processed by PixelFlow.

    npm --prefix clients/typescript ci && npm --prefix clients/typescript run build
    export PIXELFLOW_URL=… PIXELFLOW_API_KEY=… PIXELFLOW_WEBHOOK_SECRET=whsec_… SHOP_URL=http://127.0.0.1:8000
    uvicorn --app-dir examples shop_fastapi:app

The key of PixelFlow stays here: the page gets only the presigned upload of one job. Photos are kept in memory; a real
shop keeps them in its database, each with the user who may see it.
"""  # noqa: INP001  # a script

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import shop_job
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from standardwebhooks import Webhook, WebhookVerificationError

from pixelflow.client import ApiError, AsyncClient, ConnectionFailedError

pixelflow = AsyncClient(os.environ["PIXELFLOW_URL"], os.environ["PIXELFLOW_API_KEY"])
webhook = Webhook(os.environ["PIXELFLOW_WEBHOOK_SECRET"])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the client's connections when the shop stops."""
    async with pixelflow:
        yield


app = FastAPI(title="Shop", lifespan=lifespan)


async def body_of(request: Request) -> bytes:
    """Read the body of a request, which FastAPI does not limit.

    Raises:
        HTTPException: it is too large.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > shop_job.MAX_BODY_BYTES:
            raise HTTPException(413, f"A request has at most {shop_job.MAX_BODY_BYTES} bytes")
    return bytes(body)


@app.post("/photos")
async def create_photo(request: Request) -> dict[str, Any]:
    """Create a job, and return where the page uploads the photo to."""
    try:
        return shop_job.add(await pixelflow.create_job(shop_job.request_of(await body_of(request))))
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    except (ApiError, ConnectionFailedError) as error:
        raise HTTPException(*shop_job.problem_of(error)) from error


@app.get("/photos")
async def list_photos() -> list[dict[str, Any]]:
    """The photos that are ready, oldest first."""
    return shop_job.ready()


@app.get("/photos/{photo}/events")
async def watch_photo(photo: str) -> StreamingResponse:
    """Pass on what happens to a photo, as server-sent events. The last one has its sizes."""
    if photo not in shop_job.photos:
        raise HTTPException(404)
    return StreamingResponse(_events(photo), media_type="text/event-stream")


async def _events(photo: str) -> AsyncIterator[str]:
    async for event in pixelflow.events(photo):
        yield shop_job.progress(event)
    job = await pixelflow.get_job(photo)
    yield shop_job.result(job.model_dump(mode="json"))


@app.post("/hooks/pixelflow")
async def receive_webhook(request: Request) -> Response:
    """Store the result of a job if PixelFlow signed it."""
    try:
        event = webhook.verify(await body_of(request), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return Response(status_code=401)
    shop_job.receive(event)
    return Response(status_code=204)


@app.get("/")
async def page() -> FileResponse:
    """The page with the drop zone."""
    return FileResponse(shop_job.PAGE / "index.html")


app.mount("/static", StaticFiles(directory=shop_job.PAGE))
app.mount("/pixelflow", StaticFiles(directory=shop_job.CLIENT, check_dir=False))
