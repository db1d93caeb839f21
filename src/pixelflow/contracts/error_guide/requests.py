"""The codes of refused requests."""

from __future__ import annotations

from collections.abc import Mapping

from pixelflow.contracts.error_guide.guide import LATER, NO, SAME_KEY, Guide

REQUESTS: Mapping[str, Guide] = {
    "validation_failed": Guide(
        "The request is JSON, but its fields, query parameters or their values are not valid.",
        "Correct each entry of `errors`: `pointer` is the place in the body, or `/query/NAME`; `message` says what to "
        "change. `detail` repeats the first.",
        NO,
    ),
    "malformed_request": Guide(
        "The body is not JSON in UTF-8.",
        "Send one JSON object. Check for single quotes, comments, trailing commas and unquoted names. With curl, use "
        "`--data @file.json` or single quotes around the whole body.",
        NO,
    ),
    "body_too_large": Guide(
        "The body exceeds the limit of its route.",
        "Send only the description of a job. The API takes no image bytes: upload the file to the presigned URL.",
        NO,
    ),
    "invalid_http": Guide(
        "The request line, a header or the body's framing is not valid HTTP/1.1.",
        "Use an HTTP library. Send one `Host`, at most one `Authorization`, and not both `Content-Length` and "
        "`Transfer-Encoding`.",
        NO,
    ),
    "headers_too_large": Guide(
        "The request line and headers are too large, or too many.",
        "Remove headers that the API does not need, such as cookies.",
        NO,
    ),
    "request_timeout": Guide(
        "The request did not arrive, or was not processed, in time.",
        "Send the whole request at once. Check the connection and any proxy in between.",
        "Yes, with the same `Idempotency-Key`.",
    ),
    "deadline_exceeded": Guide(
        "The API could not finish the request in the time that the operator allows.",
        "Send it again a little later. If it repeats, the operator looks for slow statements in the log.",
        LATER,
    ),
    "too_many_connections": Guide(
        "Your address has too many open connections.",
        "Use one client with a pool of connections, and close those that you don't use.",
        LATER,
    ),
    "too_many_requests": Guide(
        "Your other requests took the time that the API has for you beside other users. This one had no effect.",
        "Send fewer requests at once. A batch replaces many of them; a long poll or a stream of events, many polls.",
        LATER,
    ),
    "overloaded": Guide(
        "The server has no connection left.",
        "Send requests at a lower rate. The operator starts further API processes.",
        LATER,
    ),
    "unsupported_media_type": Guide(
        "The request's `Content-Type` is not JSON.",
        "Send `Content-Type: application/json`. Forms and multipart uploads are not supported.",
        NO,
    ),
    "unauthenticated": Guide(
        "The request has no credential, or one that is unknown, expired or revoked.",
        "Send `Authorization: Bearer pf_…` with the complete key. To create a key: `pixelflow keys create`.",
        NO,
    ),
    "insufficient_scope": Guide(
        "The key or token is valid, but lacks the scope that `detail` names.",
        "Use a key with this scope, or create one with `POST /v1/keys` or `pixelflow keys create`.",
        NO,
    ),
    "rate_limited": Guide(
        "You sent more requests than your rate limit allows. The request had no effect.",
        "Read the `RateLimit` header and send at most as many. To wait for a job, use a webhook instead of polling.",
        LATER,
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
        f"Yes, after you revoked a key, {SAME_KEY}",
    ),
    "asset_exists": Guide(
        "An asset of yours has this name.",
        "Choose another name, or delete the asset first.",
        f"Yes, after you deleted the asset, {SAME_KEY}",
    ),
    "too_many_assets": Guide(
        "You have as many assets as a user may have.",
        "Delete an asset that you don't use: `DELETE /v1/assets/{asset_id}`.",
        f"Yes, after you deleted an asset, {SAME_KEY}",
    ),
    "too_many_presets": Guide(
        "You have as many presets as a user may have, or the preset has as many versions as a preset may have.",
        "Delete a preset that you don't use: `DELETE /v1/presets/{name}`; or save the pipeline under another name.",
        "Yes, after you deleted a preset.",
    ),
    "webhook_endpoint_exists": Guide(
        "A webhook endpoint of yours has this URL.",
        "Change that endpoint (`PATCH /v1/webhook-endpoints/{endpoint_id}`), or delete it first.",
        f"Yes, after you deleted the endpoint, {SAME_KEY}",
    ),
    "webhook_endpoint_disabled": Guide(
        "The event of the delivery is for a webhook endpoint of yours that is disabled, and nothing is sent to it.",
        'Enable the endpoint (`PATCH /v1/webhook-endpoints/{endpoint_id}` with `{"enabled": true}`), then replay.',
        f"Yes, after you enabled the endpoint, {SAME_KEY}",
    ),
    "too_many_webhook_endpoints": Guide(
        "You have as many webhook endpoints as a user may have.",
        "Delete an endpoint that you don't use: `DELETE /v1/webhook-endpoints/{endpoint_id}`.",
        f"Yes, after you deleted an endpoint, {SAME_KEY}",
    ),
    "webhook_secret_exists": Guide(
        "You have a webhook secret, which was shown when it was created. It can't be shown again.",
        "Use the secret that you stored. If you lost it, get a new one: `POST /v1/webhook-secret/rotate`.",
        NO,
    ),
    "idempotency_key_invalid": Guide(
        "The `Idempotency-Key` is empty, too long or has characters that are not allowed.",
        "Send a UUID, new for each operation.",
        NO,
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
        LATER,
    ),
    "not_found": Guide(
        "No route has this path, or you have no such job, asset, key or delivery. Those of other users look the same.",
        "Check the path, the ID and whose key you use. An erased or expired job is not found either.",
        NO,
    ),
    "method_not_allowed": Guide(
        "The path exists, but not with this method.", "Use one of the methods in the `Allow` header.", NO
    ),
    "batch_closed": Guide(
        "The batch was closed, so it takes no more jobs. The request has a source that is not one of its jobs.",
        "Create another batch for the other sources. Close a batch with its last request.",
        NO,
    ),
    "batch_canceled": Guide(
        "The batch was canceled, so it takes no more jobs.",
        "Create another batch.",
        NO,
    ),
    "job_already_finished": Guide(
        "The job has succeeded, failed or was canceled, so it can't be started or canceled.",
        "Read its `status`. To run a failed or canceled job again, call `retry`; otherwise create a new job.",
        NO,
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
        f"Yes, after the upload, {SAME_KEY}",
    ),
    "output_missing": Guide(
        "The job in `source.job`, or in the path of a download, has no output of this step. Or the file to download "
        "has expired, or is on the service's disk.",
        "Read `outputs` of that job, and send one of its `step_id` values. Steps with `output: false` have none.",
        NO,
    ),
    "too_many_uploads": Guide(
        "Your jobs that were not started have as many uploads, or bytes, as a user may have.",
        "Start some of these jobs; `GET /v1/jobs?status=created` lists them. Canceled and erased ones count until "
        "their upload can't arrive any more: hours for erased ones, longer for canceled ones.",
        f"Yes, after you did, {SAME_KEY}",
    ),
    "source_too_large": Guide(
        "The file is larger than allowed. An upload of a declared size is refused before it is stored.",
        "Create a job for a smaller file. `GET /v1/capabilities` has the limit.",
        NO,
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
        NO,
    ),
    "url_sources_disabled": Guide(
        "The operator has not enabled `source.url`.",
        "Upload the file, or have the operator set `PIXELFLOW_URL_SOURCES`.",
        NO,
    ),
    "internal_error": Guide(
        "An unexpected error occurred and was logged.",
        "Report `request_id` to the operator, who finds it in the log.",
        "Yes, once, with the same `Idempotency-Key`.",
    ),
}
