"""The shop of ``shop-fastapi``, in Django: the same page, and a backend with blocking views in one file.

    npm --prefix clients/typescript ci && npm --prefix clients/typescript run build
    export PIXELFLOW_URL=… PIXELFLOW_API_KEY=… PIXELFLOW_WEBHOOK_SECRET=whsec_… SHOP_URL=http://127.0.0.1:8000
    python examples/shop-django/shop.py runserver --noreload 8000

The key of PixelFlow stays here: the page gets only the presigned upload of one job. Photos are kept in memory; a real
shop keeps them in a model, each with the user who may see it, and shows the form's CSRF token to its page.
"""  # noqa: INP001  # a script

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from django.views.static import serve
from standardwebhooks import Webhook, WebhookVerificationError

from pixelflow.client import ApiError, Client, InvalidRequestError
from pixelflow.client.operations import validated
from pixelflow.contracts.jobs.requests import CreateJobRequest

EXAMPLES = Path(__file__).parents[1]
PAGE = EXAMPLES / "shop-page"
CLIENT = EXAMPLES.parent / "clients" / "typescript" / "dist"
MAX_PHOTO_BYTES = 20_000_000
SIZES = [
    {"id": "large", "action": "resize", "width": 960, "format": "webp"},
    {"id": "small", "action": "resize", "width": 320, "format": "webp"},
    {"id": "square", "action": "resize", "width": 160, "height": 160, "fit": "cover", "format": "webp"},
]

pixelflow = Client(os.environ["PIXELFLOW_URL"], os.environ["PIXELFLOW_API_KEY"])
webhook = Webhook(os.environ["PIXELFLOW_WEBHOOK_SECRET"])
photos: dict[str, dict[str, Any]] = {}
"""By the ID of the job: its status and sizes."""
seen_events: set[str] = set()


def _error(status: int, detail: str) -> JsonResponse:
    return JsonResponse({"detail": detail}, status=status)


@csrf_exempt
@require_POST
def create_photo(request: HttpRequest) -> JsonResponse:
    """Create a job, and return where the page uploads the photo to."""
    declared = json.loads(request.body)
    if declared.get("content_length", 0) > MAX_PHOTO_BYTES:
        return _error(422, f"A photo may have {MAX_PHOTO_BYTES} bytes")
    raw = {"source": declared, "pipeline": SIZES, "webhook_url": f"{os.environ['SHOP_URL']}/hooks/pixelflow"}
    try:
        created = pixelflow.create_job(validated(CreateJobRequest, raw))
    except InvalidRequestError as error:
        return _error(422, str(error))
    except ApiError as error:
        return _error(422 if error.status < 500 else 503, error.detail)  # noqa: PLR2004
    photos[str(created.job_id)] = {"status": "created", "sizes": []}
    return JsonResponse({"photo": str(created.job_id), "upload": created.upload.model_dump(mode="json")})


@csrf_exempt
@require_POST
def start_photo(_: HttpRequest, photo: str) -> JsonResponse:
    """Start the job of an uploaded photo."""
    if photo not in photos:
        return _error(404, "There is no such photo")
    try:
        pixelflow.start_job(photo)
    except ApiError as error:
        return _error(409, error.detail)
    return JsonResponse(photos[photo])


@require_GET
def show_photo(_: HttpRequest, photo: str) -> JsonResponse:
    """The status of a photo, and its sizes once PixelFlow's webhook has named them."""
    return JsonResponse(photos[photo]) if photo in photos else _error(404, "There is no such photo")


@csrf_exempt
@require_POST
def receive_webhook(request: HttpRequest) -> HttpResponse:
    """Store the result of a job, once, if PixelFlow signed it."""
    try:
        event = webhook.verify(request.body, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return HttpResponse(status=401)
    job = event["data"]
    if request.headers["webhook-id"] not in seen_events and job.get("job_id") in photos:
        sizes = [
            {name: output[name] for name in ("step_id", "width", "height")} | {"url": output["download_url"]}
            for output in job["outputs"]
        ]
        photos[job["job_id"]] = {"status": job["status"], "sizes": sizes}
        seen_events.add(request.headers["webhook-id"])
    return HttpResponse(status=204)


@require_GET
def page(_: HttpRequest) -> FileResponse:
    """The page with the drop zone."""
    return FileResponse((PAGE / "index.html").open("rb"))


urlpatterns = [
    path("", page),
    path("photos", create_photo),
    path("photos/<str:photo>", show_photo),
    path("photos/<str:photo>/start", start_photo),
    path("hooks/pixelflow", receive_webhook),
    path("static/<path:path>", serve, {"document_root": PAGE}),
    path("pixelflow/<path:path>", serve, {"document_root": CLIENT}),
]

if __name__ == "__main__":
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"], ROOT_URLCONF=__name__, SECRET_KEY=os.urandom(32).hex(), DEBUG=False
    )
    execute_from_command_line(sys.argv)
