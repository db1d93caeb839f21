"""The codes of failed jobs."""

from __future__ import annotations

from collections.abc import Mapping

from pixelflow.contracts.error_guide.guide import BACKING, BY_ITSELF, NO_JOB, Guide

JOBS: Mapping[str, Guide] = {
    "source_gone": Guide(
        "The source was deleted before the job could read it.", "Create a new job and upload the file again.", NO_JOB
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
        NO_JOB,
    ),
    "source_url_refused": Guide(
        "PixelFlow does not fetch from this URL, or from one that it redirects to: the address is not public, the host "
        "or the scheme is not allowed, there are too many redirects, or the server sends a coded body. `message` says "
        "which.",
        "Use an https URL of the file itself, on a public address and a host that the operator allows.",
        NO_JOB,
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
        BY_ITSELF,
    ),
    "source_postponed": Guide(
        "The worker fetches several other sources of yours, or of this server.",
        "Nothing. It becomes the error of a job only while the job waits.",
        BY_ITSELF,
    ),
    "unsupported_format": Guide(
        "The file is not an image that PixelFlow reads. `message` names what it is, if it is known.",
        "Convert the file, or check that you uploaded the right one and not an error page.",
        NO_JOB,
    ),
    "undecodable": Guide(
        "The file is damaged or incomplete.",
        'Upload the original again. To use what can be decoded, set `"on_damage": "accept"` in `source`.',
        NO_JOB,
    ),
    "too_many_pixels": Guide(
        "Width × height × frames of the source exceed the limit.",
        "Send a smaller image or fewer frames; `frame` in `source` reads a single one.",
        NO_JOB,
    ),
    "too_many_scans": Guide(
        "The progressive JPEG has more scans than any camera or editor writes.",
        "Save the image anew, as a baseline or ordinary progressive JPEG.",
        NO_JOB,
    ),
    "asset_gone": Guide(
        "An asset of the pipeline was deleted before the job ran.", "Add the asset and create a new job.", NO_JOB
    ),
    "destination_refused": Guide(
        "The bucket of the `destination` does not exist, or refuses the service's credentials or a header such as "
        "the ACL. `message` has S3's own code.",
        "Ask the operator about the bucket, then retry the job.",
        NO_JOB,
    ),
    "destination_exists": Guide(
        "An object that the job did not store has the output's key, or two outputs have the same key.",
        "Use a key with `{job_id}` or `{sha256}`, or set `overwrite` in `destination`.",
        NO_JOB,
    ),
    "output_too_large": Guide(
        "A step's result, or all outputs together, exceed a limit of pixels or bytes.",
        "Ask for smaller outputs, or fewer of them in one job.",
        NO_JOB,
    ),
    "step_failed": Guide(
        "A step can't be applied to this image. `step_id` and `message` say which and why.",
        "Change the step; for example, crop inside the image.",
        NO_JOB,
    ),
    "transform_timeout": Guide(
        "The transform took longer than the time limit.",
        "Ask for fewer or smaller outputs, or a faster format than AVIF.",
        NO_JOB,
    ),
    "out_of_memory": Guide(
        "The transform needed more memory than its limit.", "Ask for fewer or smaller outputs in one job.", NO_JOB
    ),
    "transform_crashed": Guide(
        "The process that transformed the image ended unexpectedly.",
        "Nothing, unless it repeats: then save the image anew.",
        BY_ITSELF,
    ),
    "decoder_crashed": Guide(
        "The file crashes the code that decodes it, in a process of its own.",
        "Open the file in an editor and save it anew. Report it if you may share it.",
        NO_JOB,
    ),
    "transform_postponed": Guide(
        "Your images crashed many processes, so your jobs wait a while.",
        "Stop sending files that fail with `decoder_crashed`.",
        BY_ITSELF,
    ),
    "attempts_exhausted": Guide(
        "Each attempt of the job ended without a result, such as by a crash.",
        "Retry the job once. If it fails again, report its ID to the operator.",
        "Yes: `POST /v1/jobs/{job_id}/retry`.",
    ),
    "service_unavailable": Guide(
        "Object storage or the workers' machines failed for longer than a job may wait.",
        BACKING,
        "Yes: `POST /v1/jobs/{job_id}/retry`.",
    ),
}
