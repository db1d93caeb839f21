"""The shop of ``shop-fastapi``, in Django: the same page, and a backend with blocking views in one file.

    npm --prefix clients/typescript ci && npm --prefix clients/typescript run build
    export PIXELFLOW_URL=… PIXELFLOW_API_KEY=… PIXELFLOW_WEBHOOK_SECRET=whsec_… SHOP_URL=http://127.0.0.1:8000
    python examples/shop-django/shop.py runserver --noreload 8000

The key of PixelFlow stays here: the page gets only the presigned upload of one job. Photos are kept in memory; a real
shop keeps them in a model, each with the user who may see it, and shows the form's CSRF token to its page. A stream of
events occupies a thread of the server until its photo has finished: run it with enough threads.
"""  # noqa: INP001  # a script

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.static import serve
from standardwebhooks import Webhook, WebhookVerificationError

from pixelflow.client import ApiError, Client, InvalidRequestError
from pixelflow.client.operations import validated
from pixelflow.contracts.jobs.requests import CreateJobRequest

EXAMPLES = Path(__file__).parents[1]
PAGE = EXAMPLES / "shop-page"
CLIENT = EXAMPLES.parent / "clients" / "typescript" / "dist"
MAX_PHOTO_BYTES = 20_000_000
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

pixelflow = Client(os.environ["PIXELFLOW_URL"], os.environ["PIXELFLOW_API_KEY"])
webhook = Webhook(os.environ["PIXELFLOW_WEBHOOK_SECRET"])
photos: dict[str, dict[str, Any]] = {}
"""By the ID of the job: its status and the final URLs of its sizes."""


def _error(status: int, detail: str) -> JsonResponse:
    return JsonResponse({"detail": detail}, status=status)


@csrf_exempt
@require_http_methods(["GET", "POST"])
def photos_view(request: HttpRequest) -> JsonResponse:
    """The photos that are ready, oldest first; or create another one."""
    if request.method == "POST":
        return create_photo(json.loads(request.body))
    return JsonResponse([photo for photo in photos.values() if photo["status"] == "succeeded"], safe=False)


def create_photo(declared: dict[str, Any]) -> JsonResponse:
    """Create a job, and return where the page uploads the photo to. The upload starts the job."""
    if declared.get("content_length", 0) > MAX_PHOTO_BYTES:
        return _error(422, f"A photo may have {MAX_PHOTO_BYTES} bytes")
    try:
        created = pixelflow.create_job(validated(CreateJobRequest, {**JOB, "source": declared}))
    except InvalidRequestError as error:
        return _error(422, str(error))
    except ApiError as error:
        return _error(422 if error.status < 500 else 503, error.detail)  # noqa: PLR2004
    photos[str(created.job_id)] = {"status": "created", "sizes": []}
    return JsonResponse({"photo": str(created.job_id), "upload": created.upload.model_dump(mode="json")})


@require_GET
def watch_photo(_: HttpRequest, photo: str) -> HttpResponseBase:
    """Pass on what happens to a photo, as server-sent events. The last one has its sizes."""
    if photo not in photos:
        return _error(404, "There is no such photo")
    return StreamingHttpResponse(_events(photo), content_type="text/event-stream")


def _events(photo: str) -> Iterator[str]:
    for event in pixelflow.events(photo):
        yield _server_sent({"status": event.status, "stage": event.stage})
    yield _server_sent(_store(pixelflow.get_job(photo).model_dump(mode="json")))


def _server_sent(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


@csrf_exempt
@require_POST
def receive_webhook(request: HttpRequest) -> HttpResponse:
    """Store the result of a job if PixelFlow signed it, also when nobody has the page open any more."""
    try:
        event = webhook.verify(request.body, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return HttpResponse(status=401)
    if event["data"].get("job_id") in photos:
        _store(event["data"])
    return HttpResponse(status=204)


def _store(job: dict[str, Any]) -> dict[str, Any]:
    """Store what the shop shows of a finished job. Storing it twice, as for a repeated webhook, changes nothing."""
    sizes = [{name: output[name] for name in ("step_id", "width", "height", "url")} for output in job["outputs"]]
    problem = job["error"]["message"] if job["error"] else None
    photos[job["job_id"]] = {"status": job["status"], "sizes": sizes, "problem": problem}
    return photos[job["job_id"]]


@require_GET
def page(_: HttpRequest) -> FileResponse:
    """The page with the drop zone."""
    return FileResponse((PAGE / "index.html").open("rb"))


urlpatterns = [
    path("", page),
    path("photos", photos_view),
    path("photos/<str:photo>/events", watch_photo),
    path("hooks/pixelflow", receive_webhook),
    path("static/<path:path>", serve, {"document_root": PAGE}),
    path("pixelflow/<path:path>", serve, {"document_root": CLIENT}),
]

if __name__ == "__main__":
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"], ROOT_URLCONF=__name__, SECRET_KEY=os.urandom(32).hex(), DEBUG=False
    )
    execute_from_command_line(sys.argv)
