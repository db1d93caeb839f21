"""What each error code means, what to change and whether to retry: the texts of ``docs/errors.md`` and ``/errors``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pixelflow.errors import PixelflowError

_NO = "No: the same request fails again."
_NO_JOB = "No: every attempt would fail. Create a new job."
_LATER = "Yes, with the same `Idempotency-Key`, after the seconds in `Retry-After`."
_SAME_KEY = "with the same `Idempotency-Key` or a new one."
_BACKING = "The operator checks `/readyz`, which names the services that are not available, and the log of the process."
_BY_ITSELF = "PixelFlow tries again by itself. If it becomes the error of a job, call `retry`."


class Guide(NamedTuple):
    """The guide to one code, as sentences in Markdown that has only code spans."""

    meaning: str
    change: str
    retry: str


GUIDES: Mapping[str, Guide] = {
    # Requests
    "validation_failed": Guide(
        "The request is JSON, but its fields, query parameters or their values are not valid.",
        "Correct each entry of `errors`: `pointer` is the place in the body, or `/query/NAME`; `message` says what to "
        "change. `detail` repeats the first.",
        _NO,
    ),
    "malformed_request": Guide(
        "The body is not JSON in UTF-8.",
        "Send one JSON object. Check for single quotes, comments, trailing commas and unquoted names. With curl, use "
        "`--data @file.json` or single quotes around the whole body.",
        _NO,
    ),
    "body_too_large": Guide(
        "The body exceeds the limit of its route.",
        "Send only the description of a job. The API takes no image bytes: upload the file to the presigned URL.",
        _NO,
    ),
    "invalid_http": Guide(
        "The request line, a header or the body's framing is not valid HTTP/1.1.",
        "Use an HTTP library. Send one `Host`, at most one `Authorization`, and not both `Content-Length` and "
        "`Transfer-Encoding`.",
        _NO,
    ),
    "headers_too_large": Guide(
        "The request line and headers are too large, or too many.",
        "Remove headers that the API does not need, such as cookies.",
        _NO,
    ),
    "request_timeout": Guide(
        "The request did not arrive, or was not processed, in time.",
        "Send the whole request at once. Check the connection and any proxy in between.",
        "Yes, with the same `Idempotency-Key`.",
    ),
    "deadline_exceeded": Guide(
        "The API could not finish the request in the time that the operator allows.",
        "Send it again a little later. If it repeats, the operator looks for slow statements in the log.",
        _LATER,
    ),
    "too_many_connections": Guide(
        "Your address has too many open connections.",
        "Use one client with a pool of connections, and close those that you don't use.",
        _LATER,
    ),
    "overloaded": Guide(
        "The server has no connection left.",
        "Send requests at a lower rate. The operator starts further API processes.",
        _LATER,
    ),
    "unsupported_media_type": Guide(
        "The request's `Content-Type` is not JSON.",
        "Send `Content-Type: application/json`. Forms and multipart uploads are not supported.",
        _NO,
    ),
    "unauthenticated": Guide(
        "The request has no credential, or one that is unknown, expired or revoked.",
        "Send `Authorization: Bearer pf_…` with the complete key. To create a key: `pixelflow keys create`.",
        _NO,
    ),
    "insufficient_scope": Guide(
        "The key or token is valid, but lacks the scope that `detail` names.",
        "Use a key with this scope, or create one with `POST /v1/keys` or `pixelflow keys create`.",
        _NO,
    ),
    "rate_limited": Guide(
        "You sent more requests than your rate limit allows. The request had no effect.",
        "Read the `RateLimit` header and send at most as many. To wait for a job, use a webhook instead of polling.",
        _LATER,
    ),
    "too_many_streams": Guide(
        "You have as many event streams and waiting requests as a user may have, or the server has no more places.",
        "Close streams that you don't read. Watch all jobs by one stream of `GET /v1/events` instead of one per job, "
        "or poll without `wait`.",
        "Yes, after the seconds in `Retry-After`.",
    ),
    "too_many_keys": Guide(
        "You have as many active keys as a user may have.",
        "Revoke a key that you don't use: `DELETE /v1/keys/{key_id}`.",
        f"Yes, after you revoked a key, {_SAME_KEY}",
    ),
    "asset_exists": Guide(
        "An asset of yours has this name.",
        "Choose another name, or delete the asset first.",
        f"Yes, after you deleted the asset, {_SAME_KEY}",
    ),
    "too_many_assets": Guide(
        "You have as many assets as a user may have.",
        "Delete an asset that you don't use: `DELETE /v1/assets/{asset_id}`.",
        f"Yes, after you deleted an asset, {_SAME_KEY}",
    ),
    "too_many_presets": Guide(
        "You have as many presets as a user may have, or the preset has as many versions as a preset may have.",
        "Delete a preset that you don't use: `DELETE /v1/presets/{name}`; or save the pipeline under another name.",
        "Yes, after you deleted a preset.",
    ),
    "webhook_endpoint_exists": Guide(
        "A webhook endpoint of yours has this URL.",
        "Change that endpoint (`PATCH /v1/webhook-endpoints/{endpoint_id}`), or delete it first.",
        f"Yes, after you deleted the endpoint, {_SAME_KEY}",
    ),
    "webhook_endpoint_disabled": Guide(
        "The event of the delivery is for a webhook endpoint of yours that is disabled, and nothing is sent to it.",
        'Enable the endpoint (`PATCH /v1/webhook-endpoints/{endpoint_id}` with `{"enabled": true}`), then replay.',
        f"Yes, after you enabled the endpoint, {_SAME_KEY}",
    ),
    "too_many_webhook_endpoints": Guide(
        "You have as many webhook endpoints as a user may have.",
        "Delete an endpoint that you don't use: `DELETE /v1/webhook-endpoints/{endpoint_id}`.",
        f"Yes, after you deleted an endpoint, {_SAME_KEY}",
    ),
    "webhook_secret_exists": Guide(
        "You have a webhook secret, which was shown when it was created. It can't be shown again.",
        "Use the secret that you stored. If you lost it, get a new one: `POST /v1/webhook-secret/rotate`.",
        _NO,
    ),
    "idempotency_key_invalid": Guide(
        "The `Idempotency-Key` is empty, too long or has characters that are not allowed.",
        "Send a UUID, new for each operation.",
        _NO,
    ),
    "idempotency_key_reused": Guide(
        "The `Idempotency-Key` was used for another path or body. Nothing was done.",
        "Send a new key for a new operation. To repeat an operation, send the same body.",
        "Yes, with a new key.",
    ),
    "idempotency_answer_lost": Guide(
        "The operation succeeded before, but its stored response can't be read.",
        "Look for the result, such as with `GET /v1/jobs`. The operator checks `PIXELFLOW_SECRETS_KEY`.",
        "Only with a new key, after you checked that the result is missing.",
    ),
    "idempotency_in_progress": Guide(
        "An earlier request with this `Idempotency-Key` has not finished.",
        "Wait for the response to the earlier request.",
        _LATER,
    ),
    "not_found": Guide(
        "No route has this path, or you have no such job, asset, key or delivery. Those of other users look the same.",
        "Check the path, the ID and whose key you use. An erased or expired job is not found either.",
        _NO,
    ),
    "method_not_allowed": Guide(
        "The path exists, but not with this method.", "Use one of the methods in the `Allow` header.", _NO
    ),
    "batch_closed": Guide(
        "The batch was closed, so it takes no more jobs. The request has a source that is not one of its jobs.",
        "Create another batch for the other sources. Close a batch with its last request.",
        _NO,
    ),
    "batch_canceled": Guide(
        "The batch was canceled, so it takes no more jobs.",
        "Create another batch.",
        _NO,
    ),
    "job_already_finished": Guide(
        "The job has succeeded, failed or was canceled, so it can't be started or canceled.",
        "Read its `status`. To run a failed or canceled job again, call `retry`; otherwise create a new job.",
        _NO,
    ),
    "job_not_finished": Guide(
        "The job is not finished, so it can't be retried; or it has no file yet that another job could process.",
        "To retry it, wait until it has failed, or cancel it first. To process its source again, start it; to process "
        "an output, wait until it has succeeded.",
        "Yes, after that.",
    ),
    "source_missing": Guide(
        "There is no file for this job or asset: nothing was uploaded, the local file was deleted, or the file of an "
        "earlier job has expired or was erased.",
        "PUT the file to `presigned_put_url` with exactly the `headers` of the response, and check that storage "
        "answered 200. Then send the request again. Put a local file back at its path.",
        f"Yes, after the upload, {_SAME_KEY}",
    ),
    "output_missing": Guide(
        "The job in `source.job`, or in the path of a download, has no output of this step. Or the file to download "
        "has expired, or is on the service's disk.",
        "Read `outputs` of that job, and send one of its `step_id` values. Steps with `output: false` have none.",
        _NO,
    ),
    "too_many_uploads": Guide(
        "Your jobs that were not started have as many uploads, or bytes, as a user may have.",
        "Start some of these jobs; `GET /v1/jobs?status=created` lists them. Canceled and erased ones count until "
        "their upload can't arrive any more: hours for erased ones, longer for canceled ones.",
        f"Yes, after you did, {_SAME_KEY}",
    ),
    "source_too_large": Guide(
        "The file is larger than allowed. An upload of a declared size is refused before it is stored.",
        "Create a job for a smaller file. `GET /v1/capabilities` has the limit.",
        _NO,
    ),
    "unsupported_capability": Guide(
        "No worker of this installation has a format or feature that the job requires.",
        "Choose a format that `GET /v1/capabilities` lists. The operator installs the missing extra on a worker.",
        "Yes, after a worker with the capability has started.",
    ),
    "local_files_disabled": Guide(
        "No regular file that you may read has this path: local files are disabled, the file is missing, or it is "
        "outside your folder in the directories that the operator allows.",
        "Put the file into `ROOT/{user_id}/`, where `ROOT` is a directory of `PIXELFLOW_LOCAL_ROOTS`, or upload it. "
        "With `PIXELFLOW_LOCAL_ACCESS=shared`, the operator allows all files of these directories to all users.",
        _NO,
    ),
    "url_sources_disabled": Guide(
        "The operator has not enabled `source.url`.",
        "Upload the file, or have the operator set `PIXELFLOW_URL_SOURCES`.",
        _NO,
    ),
    "internal_error": Guide(
        "An unexpected error occurred and was logged.",
        "Report `request_id` to the operator, who finds it in the log.",
        "Yes, once, with the same `Idempotency-Key`.",
    ),
    # Jobs
    "source_gone": Guide(
        "The source was deleted before the job could read it.", "Create a new job and upload the file again.", _NO_JOB
    ),
    "source_changed": Guide(
        "The file was replaced after the job was started, or does not have the declared `sha256`.",
        "Create a job for each file, and don't upload again after the start. If `sha256` is wrong, create a new job.",
        "Yes, if the file was replaced: `POST /v1/jobs/{job_id}/retry` uses the source that is there now.",
    ),
    "source_not_found": Guide(
        "The bucket of `source` has no object with this key.", "Check the key.", "Yes, once the object is there."
    ),
    "source_not_allowed": Guide(
        "The operator no longer lets you read it, or the bucket of `source` refuses it, with S3's code in `message`.",
        "Check the key: S3 may also refuse what does not exist. Then ask the operator about the bucket.",
        _NO_JOB,
    ),
    "source_url_refused": Guide(
        "PixelFlow does not fetch from this URL, or from one that it redirects to: the address is not public, the host "
        "or the scheme is not allowed, there are too many redirects, or the server sends a coded body. `message` says "
        "which.",
        "Use an https URL of the file itself, on a public address and a host that the operator allows.",
        _NO_JOB,
    ),
    "source_url_status": Guide(
        "The server of the URL answered with the status in `message`, such as 403 or 404.",
        "Check the URL. A signed URL may have expired: sign it for longer than the job may wait.",
        "Yes, once the server sends the file.",
    ),
    "source_url_unavailable": Guide(
        "The server of the URL did not answer, was too slow, sent an incomplete file or answered 408, 425, 429 or 5xx, "
        "in every attempt.",
        "Check that the server is reachable and fast enough.",
        _BY_ITSELF,
    ),
    "source_postponed": Guide(
        "The worker fetches several other sources of yours, or of this server.",
        "Nothing. It becomes the error of a job only while the job waits.",
        _BY_ITSELF,
    ),
    "unsupported_format": Guide(
        "The file is not an image that PixelFlow reads. `message` names what it is, if it is known.",
        "Convert the file, or check that you uploaded the right one and not an error page.",
        _NO_JOB,
    ),
    "undecodable": Guide(
        "The file is damaged or incomplete.",
        'Upload the original again. To use what can be decoded, set `"on_damage": "accept"` in `source`.',
        _NO_JOB,
    ),
    "too_many_pixels": Guide(
        "Width × height × frames of the source exceed the limit.",
        "Send a smaller image or fewer frames; `frame` in `source` reads a single one.",
        _NO_JOB,
    ),
    "too_many_scans": Guide(
        "The progressive JPEG has more scans than any camera or editor writes.",
        "Save the image anew, as a baseline or ordinary progressive JPEG.",
        _NO_JOB,
    ),
    "asset_gone": Guide(
        "An asset of the pipeline was deleted before the job ran.", "Add the asset and create a new job.", _NO_JOB
    ),
    "destination_refused": Guide(
        "The bucket of the `destination` does not exist, or refuses the service's credentials or a header such as "
        "the ACL. `message` has S3's own code.",
        "Ask the operator about the bucket, then retry the job.",
        _NO_JOB,
    ),
    "destination_exists": Guide(
        "An object that the job did not store has the output's key, or two outputs have the same key.",
        "Use a key with `{job_id}` or `{sha256}`, or set `overwrite` in `destination`.",
        _NO_JOB,
    ),
    "output_too_large": Guide(
        "A step's result, or all outputs together, exceed a limit of pixels or bytes.",
        "Ask for smaller outputs, or fewer of them in one job.",
        _NO_JOB,
    ),
    "step_failed": Guide(
        "A step can't be applied to this image. `step_id` and `message` say which and why.",
        "Change the step; for example, crop inside the image.",
        _NO_JOB,
    ),
    "transform_timeout": Guide(
        "The transform took longer than the time limit.",
        "Ask for fewer or smaller outputs, or a faster format than AVIF.",
        _NO_JOB,
    ),
    "out_of_memory": Guide(
        "The transform needed more memory than its limit.", "Ask for fewer or smaller outputs in one job.", _NO_JOB
    ),
    "transform_crashed": Guide(
        "The process that transformed the image ended unexpectedly.",
        "Nothing, unless it repeats: then save the image anew.",
        _BY_ITSELF,
    ),
    "decoder_crashed": Guide(
        "The file crashes the code that decodes it, in a process of its own.",
        "Open the file in an editor and save it anew. Report it if you may share it.",
        _NO_JOB,
    ),
    "transform_postponed": Guide(
        "Your images crashed many processes, so your jobs wait a while.",
        "Stop sending files that fail with `decoder_crashed`.",
        _BY_ITSELF,
    ),
    "attempts_exhausted": Guide(
        "Each attempt of the job ended without a result, such as by a crash.",
        "Retry the job once. If it fails again, report its ID to the operator.",
        "Yes: `POST /v1/jobs/{job_id}/retry`.",
    ),
    "service_unavailable": Guide(
        "Object storage or the workers' machines failed for longer than a job may wait.",
        _BACKING,
        "Yes: `POST /v1/jobs/{job_id}/retry`.",
    ),
    # Webhooks
    "target_refused": Guide(
        "The receiver's host has an address that webhooks may not be sent to, such as a private one.",
        "Use a public address. The operator can allow networks.",
        "No: the event is not sent again. Replay it after the change.",
    ),
    "target_unreachable": Guide(
        "The receiver can't be reached, or its response is not valid HTTP.",
        "Check its DNS name, port and certificate.",
        "PixelFlow tries again by itself. Later, replay the delivery.",
    ),
    "target_timeout": Guide(
        "The receiver did not respond in time.",
        "Answer 2xx first, and do the work afterwards.",
        "PixelFlow tries again by itself. Later, replay the delivery.",
    ),
    # Backing services
    "dependency_unavailable": Guide("A backing service is not available.", _BACKING, _LATER),
    "store_unavailable": Guide("Postgres is not available.", _BACKING, _LATER),
    "store_read_only": Guide(
        "Postgres accepts no changes: it is a standby, or its operator has forbidden them.", _BACKING, _LATER
    ),
    "resource_busy": Guide(
        "Another request holds the same job, key or asset. This one had no effect.",
        "Send one request at a time for one job.",
        _LATER,
    ),
    "objects_unavailable": Guide("Object storage is not available.", _BACKING, _LATER),
    "queue_unavailable": Guide("Redis is not available.", _BACKING, _LATER),
    "issuer_unavailable": Guide(
        "The keys of the token issuer can't be fetched, so tokens can't be verified. API keys work.", _BACKING, _LATER
    ),
    "limiter_unavailable": Guide("Rate limits can't be counted, since Redis is not available.", _BACKING, _LATER),
    "destination_unavailable": Guide(
        "The bucket of the `destination` does not answer.", "The operator checks the bucket's server.", _BY_ITSELF
    ),
    "source_bucket_unavailable": Guide(
        "The bucket of the `source` does not answer.", "The operator checks the bucket's server.", _BY_ITSELF
    ),
    "worker_unavailable": Guide(
        "A worker's machine lacks disk space, memory, descriptors or processes.",
        "The operator frees them; the worker's log says which.",
        _BY_ITSELF,
    ),
}
"""By code, in the order of the documentation."""


def titles() -> dict[str, str]:
    """The title of each code."""
    return {error.code: error.title for error in reversed([*_tree(PixelflowError)])}


def _tree(root: type[PixelflowError]) -> Iterator[type[PixelflowError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
