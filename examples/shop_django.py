"""The shop of ``shop_fastapi.py``, in Django: the same page, and a backend with blocking views in one file.

    npm --prefix clients/typescript ci && npm --prefix clients/typescript run build
    export PIXELFLOW_URL=… PIXELFLOW_API_KEY=… PIXELFLOW_WEBHOOK_SECRET=whsec_… SHOP_URL=http://127.0.0.1:8000
    python examples/shop_django.py runserver --noreload 8000

The key of PixelFlow stays here: the page gets only the presigned upload of one job. Photos are kept in memory; a real
shop keeps them in a model, each with the user who may see it, and shows the form's CSRF token to its page. A stream of
events occupies a thread of the server until its photo has finished: run it with enough threads.
"""  # noqa: INP001  # a script

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import shop_job
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.static import serve
from standardwebhooks import Webhook, WebhookVerificationError

from pixelflow.client import ApiError, Client, ConnectionFailedError

pixelflow = Client(os.environ["PIXELFLOW_URL"], os.environ["PIXELFLOW_API_KEY"])
webhook = Webhook(os.environ["PIXELFLOW_WEBHOOK_SECRET"])


def _error(status: int, detail: str) -> JsonResponse:
    return JsonResponse({"detail": detail}, status=status)


@csrf_exempt
@require_http_methods(["GET", "POST"])
def photos_view(request: HttpRequest) -> JsonResponse:
    """The photos that are ready, oldest first; or create another one."""
    if request.method == "POST":
        return create_photo(request.body)
    return JsonResponse(shop_job.ready(), safe=False)


def create_photo(body: bytes) -> JsonResponse:
    """Create a job, and return where the page uploads the photo to."""
    try:
        return JsonResponse(shop_job.add(pixelflow.create_job(shop_job.request_of(body))))
    except ValueError as error:
        return _error(422, str(error))
    except (ApiError, ConnectionFailedError) as error:
        return _error(*shop_job.problem_of(error))


@require_GET
def watch_photo(_: HttpRequest, photo: str) -> HttpResponseBase:
    """Pass on what happens to a photo, as server-sent events. The last one has its sizes."""
    if photo not in shop_job.photos:
        return _error(404, "There is no such photo")
    return StreamingHttpResponse(_events(photo), content_type="text/event-stream")


def _events(photo: str) -> Iterator[str]:
    for event in pixelflow.events(photo):
        yield shop_job.progress(event)
    yield shop_job.result(pixelflow.get_job(photo).model_dump(mode="json"))


@csrf_exempt
@require_POST
def receive_webhook(request: HttpRequest) -> HttpResponse:
    """Store the result of a job if PixelFlow signed it."""
    try:
        event = webhook.verify(request.body, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return HttpResponse(status=401)
    shop_job.receive(event)
    return HttpResponse(status=204)


@require_GET
def page(_: HttpRequest) -> FileResponse:
    """The page with the drop zone."""
    return FileResponse((shop_job.PAGE / "index.html").open("rb"))


urlpatterns = [
    path("", page),
    path("photos", photos_view),
    path("photos/<str:photo>/events", watch_photo),
    path("hooks/pixelflow", receive_webhook),
    path("static/<path:path>", serve, {"document_root": shop_job.PAGE}),
    path("pixelflow/<path:path>", serve, {"document_root": shop_job.CLIENT}),
]

if __name__ == "__main__":
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"], ROOT_URLCONF=__name__, SECRET_KEY=os.urandom(32).hex(), DEBUG=False
    )
    execute_from_command_line(sys.argv)
