"""Examples of requests and responses for the OpenAPI document. Production code must never read them otherwise."""

from __future__ import annotations

from typing import Any

from pixelflow.controlplane.api.batch_examples import BATCH_RESPONSES
from pixelflow.controlplane.api.webhook_examples import WEBHOOK_RESPONSES

_JOB_ID = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"
_HERO: dict[str, Any] = {
    "id": "hero",
    "action": "resize",
    "width": 1600,
    "height": 900,
    "fit": "cover",
    "gravity": "attention",
    "format": "avif",
}
_HERO_MARKED: dict[str, Any] = {
    "id": "hero_marked",
    "from": "hero",
    "action": "watermark",
    "format": "jpeg",
    "watermark": {"text": "© Acme", "opacity": 0.65, "gravity": "southeast"},
}
_SMALL: dict[str, Any] = {"id": "small", "action": "resize", "width": 640, "format": "webp"}

CREATE: dict[str, Any] = {
    "one-thumbnail": {
        "summary": "One WebP thumbnail, at most 640 pixels wide",
        "value": {"source": {"content_length": 2483920, "content_type": "image/jpeg"}, "pipeline": [_SMALL]},
    },
    "a-tree": {
        "summary": "A hero image and a watermarked copy, from one decode",
        "value": {
            "source_type": "s3_presigned",
            "source": {"content_length": 2483920},
            "webhook_url": "https://client.example/hooks/pixel-done",
            "metadata": {"sku": "A-17"},
            "pipeline": [_HERO, _HERO_MARKED],
        },
    },
    "a-browser": {
        "summary": "A job that starts by itself when the browser's upload has arrived",
        "value": {"auto_start": True, "source": {"content_length": 2483920}, "pipeline": [_SMALL]},
    },
    "a-url": {
        "summary": "A photo that a worker fetches, at once",
        "value": {
            "auto_start": True,
            "source": {"url": "https://img.example/originals/a17.jpg"},
            "pipeline": [_SMALL],
        },
    },
}

CREATED: dict[str, Any] = {
    "job_id": _JOB_ID,
    "status": "created",
    "upload": {
        "object_key": f"uploads/{_JOB_ID}/source",
        "presigned_put_url": f"https://s3.example/pixelflow/uploads/{_JOB_ID}/source?X-Amz-Signature=…",
        "presigned_url_state": "ready",
        "method": "PUT",
        "headers": {"Content-Type": "image/jpeg"},
        "content_length": 2483920,
        "multipart": None,
        "expires_at": "2026-11-23T15:00:00Z",
        "max_bytes": 100_000_000,
    },
    "start_url": f"/v1/jobs/{_JOB_ID}/start",
}

EXPLANATION: dict[str, Any] = {
    "source": {
        "format": "jpeg",
        "width": 4032,
        "height": 3024,
        "frames": 1,
        "shrink": 2,
        "decoded_width": 2016,
        "decoded_height": 1512,
    },
    "source_shared": False,
    "steps": [
        {
            "id": "small",
            "action": "resize",
            "reads": ["source"],
            "width": 640,
            "height": 480,
            "output": True,
            "format": "webp",
            "frames": 1,
            "bits": 8,
            "shared": False,
        }
    ],
    "unused": [],
    "decoded_pixels": 3048192,
    "result_pixels": 307200,
    "memory_bytes": 59783680,
    "requires": ["contract/1"],
}

STARTED: dict[str, Any] = {
    "job_id": _JOB_ID,
    "status": "queued",
    "queue": "images",
    "task_id": "0198f2c4-7d02-7f11-8c34-91aa3be05d27",
    "enqueued_at": "2026-11-23T14:01:12.604Z",
}

JOB: dict[str, Any] = {
    "job_id": _JOB_ID,
    "status": "succeeded",
    "source": {
        "type": "s3_presigned",
        "object_key": f"uploads/{_JOB_ID}/source",
        "job_id": None,
        "output": None,
        "bucket": None,
        "url": None,
        "bytes": 2483920,
        "content_type": "image/jpeg",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "format": "jpeg",
        "width": 2400,
        "height": 1350,
        "frames": 1,
        "options": {},
        "expired_at": None,
    },
    "pipeline": [_SMALL],
    "preset": None,
    "destination": None,
    "webhook_url": None,
    "metadata": {"sku": "A-17"},
    "batch_id": None,
    "priority": "normal",
    "auto_start": False,
    "waiting_for": None,
    "attempts": 1,
    "max_attempts": 5,
    "history": [
        {
            "attempt": 1,
            "worker": "5f1c09ae",
            "started_at": "2026-11-23T14:01:12.619Z",
            "ended_at": "2026-11-23T14:01:12.701Z",
            "outcome": "succeeded",
            "error": None,
        }
    ],
    "created_at": "2026-11-23T14:00:58.112Z",
    "queued_at": "2026-11-23T14:01:12.604Z",
    "started_at": "2026-11-23T14:01:12.619Z",
    "finished_at": "2026-11-23T14:01:12.701Z",
    "outputs": [
        {
            "step_id": "small",
            "action": "resize",
            "format": "webp",
            "object_key": f"outputs/{_JOB_ID}/1/small.webp",
            "bytes": 58_982,
            "width": 640,
            "height": 360,
            "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
            "url": None,
            "destination_key": None,
            "download_url": f"https://s3.example/pixelflow/outputs/{_JOB_ID}/1/small.webp?X-Amz-Signature=…",
            "expired_at": None,
        }
    ],
    "error": None,
    "warnings": [],
    "usage": {"pixels_processed": 230_400, "bytes_saved": 2_424_938, "compute_time_ms": 34},
    "expires_at": "2026-12-23T14:01:12.701Z",
}

JOBS: dict[str, Any] = {"data": [JOB], "next_cursor": None}

CANCELED: dict[str, Any] = JOB | {
    "status": "canceled",
    "started_at": None,
    "outputs": [],
    "usage": None,
    "source": {**JOB["source"], **dict.fromkeys(["sha256", "format", "width", "height", "frames"])},
}

_ASSET_ID = "0198f2c5-1f0a-7c44-8a0e-6d3b5c9e1f27"
CREATE_ASSET: dict[str, Any] = {
    "a-logo": {
        "summary": "A logo for watermarks",
        "value": {"name": "logo", "source": {"content_length": 18_204, "content_type": "image/png"}},
    }
}
CREATED_ASSET: dict[str, Any] = {
    "asset_id": _ASSET_ID,
    "name": "logo",
    "status": "pending",
    "upload": {
        "object_key": f"assets/{_ASSET_ID}",
        "presigned_put_url": f"https://s3.example/pixelflow/assets/{_ASSET_ID}?X-Amz-Signature=…",
        "presigned_url_state": "ready",
        "method": "PUT",
        "headers": {"Content-Type": "image/png"},
        "content_length": 18204,
        "multipart": None,
        "expires_at": "2026-11-23T15:00:00Z",
        "max_bytes": 18_204,
    },
    "complete_url": f"/v1/assets/{_ASSET_ID}/complete",
}
_LISTED_ASSET: dict[str, Any] = {
    "asset_id": _ASSET_ID,
    "name": "logo",
    "status": "ready",
    "bytes": 18_204,
    "content_type": "image/png",
    "created_at": "2026-11-23T14:00:00Z",
    "ready_at": "2026-11-23T14:00:02Z",
    "download_url": None,
}
ASSET: dict[str, Any] = _LISTED_ASSET | {
    "download_url": f"https://s3.example/pixelflow/assets/{_ASSET_ID}?X-Amz-Signature=…"
}
ASSETS: dict[str, Any] = {"data": [_LISTED_ASSET]}

_SIZE: dict[str, Any] = {"size": {"type": "integer", "default": 320, "minimum": 16, "maximum": 2048}}
_AVATAR: list[dict[str, Any]] = [
    {"id": "avatar", "action": "resize", "width": "${size}", "height": "${size}", "fit": "cover", "format": "webp"}
]
SAVE_PRESET: dict[str, Any] = {
    "an-avatar": {
        "summary": "A square picture, 320 pixels wide unless a job sets `size`",
        "value": {"name": "avatar", "parameters": _SIZE, "pipeline": _AVATAR},
    }
}
_PRESET_VERSION: dict[str, Any] = {"version": 3, "description": None, "created_at": "2026-11-23T14:00:00Z"}
SAVED_PRESET: dict[str, Any] = {"name": "avatar", **_PRESET_VERSION, "parameters": _SIZE, "pipeline": _AVATAR}
PRESET: dict[str, Any] = SAVED_PRESET | {"versions": [_PRESET_VERSION]}
PRESETS: dict[str, Any] = {"data": [{"name": "avatar", **_PRESET_VERSION, "parameters": _SIZE}]}

_KEY: dict[str, Any] = {
    "key_id": "3f9c1b7a20de",
    "name": "shop backend",
    "scopes": ["jobs:read", "jobs:write"],
    "created_at": "2026-11-23T14:00:00Z",
    "last_used_at": None,
    "expires_at": "2027-11-23T14:00:00Z",
    "revoked_at": None,
    "rate_limit": None,
}
CREATED_KEY: dict[str, Any] = _KEY | {"key": "pf_3f9c1b7a20de_…"}
KEYS: dict[str, Any] = {"data": [_KEY]}

_SUMS: dict[str, Any] = {"jobs": 2, "pixels_processed": 460_800, "bytes_saved": 4_849_876, "compute_time_ms": 68}
USAGE: dict[str, Any] = {
    "from": "2026-11-23",
    "to": "2026-11-25",
    "user_id": "acme",
    "group_by": "day",
    "total": _SUMS,
    "data": [
        {"day": "2026-11-23", **_SUMS},
        {"day": "2026-11-24", **dict.fromkeys(_SUMS, 0)},
    ],
}
USAGE_CSV = "day,jobs,pixels_processed,bytes_saved,compute_time_ms\r\n2026-11-23,2,460800,4849876,68\r\n"

CAPABILITIES: dict[str, Any] = {
    "release": "0.1.0",
    "contract": 2,
    "operations": [
        {
            "action": "resize",
            "summary": "Change the size of an image.",
            "since": 1,
            "schema": "/openapi.json#/components/schemas/Resize",
        }
    ],
    "input_formats": [
        {"format": "jpeg", "label": "JPEG", "media_type": "image/jpeg", "requires": None, "available": True},
        {"format": "heic", "label": "HEIC", "media_type": "image/heic", "requires": "heic", "available": False},
    ],
    "output_formats": [
        {
            "format": "jpeg",
            "aliases": ["jpg"],
            "label": "JPEG",
            "media_type": "image/jpeg",
            "extension": "jpg",
            "since": 1,
            "max_side": 65_500,
            "transparency": False,
            "animation": False,
            "default_quality": 80,
            "encoder": {"type": "object", "properties": {}, "additionalProperties": False},
            "requires": None,
            "available": True,
        }
    ],
    "limits": {
        "body_bytes": 1_048_576,
        "steps": 32,
        "dimension": 16_384,
        "metadata_keys": 32,
        "source_bytes": 100_000_000,
        "source_pixels": 100_000_000,
        "output_pixels": 100_000_000,
        "job_output_pixels": 400_000_000,
        "output_bytes": 500_000_000,
        "jpeg_scans": 500,
        "transform_seconds": 180,
    },
    "optional": [{"name": "heic", "workers": 0}],
    "workers": [
        {
            "workers": 3,
            "slots": 12,
            "degraded": 0,
            "contract": 2,
            "optional": [],
            "libvips": "8.18.2",
            "release": "0.1.0",
        }
    ],
}

HEALTHY: dict[str, Any] = {"status": "ok"}
READY: dict[str, Any] = {"status": "ok", "checks": {"postgres": "ok", "redis": "ok", "object_storage": "ok"}}

EVENT: dict[str, Any] = {
    "type": "progress",
    "job_id": "01931d3c-8f2e-7bd4-a3e1-5f6a7b8c9d0e",
    "status": "processing",
    "attempts": 1,
    "stage": "fetching",
    "percent": 40,
    "error": None,
    "finished_at": None,
}

REQUEST_ID = "4b9e1c5b0e7a4d0fb9a3c2f1d6e8a7b0"
ERRORS = [{"pointer": "/pipeline/0/width", "message": "must be at least 1"}]

RESPONSES: dict[str, dict[str, Any]] = {
    "create_job": CREATED,
    "create_job 200": EXPLANATION,
    "start_job": STARTED,
    "retry_job": STARTED,
    "cancel_job": CANCELED,
    "create_asset": CREATED_ASSET,
    "complete_asset": ASSET,
    "list_assets": ASSETS,
    "get_asset": ASSET,
    "save_preset": SAVED_PRESET,
    "list_presets": PRESETS,
    **BATCH_RESPONSES,
    **WEBHOOK_RESPONSES,
    "get_preset": PRESET,
    "create_key": CREATED_KEY,
    "list_keys": KEYS,
    "get_usage": USAGE,
    "get_job": JOB,
    "watch_job": EVENT,
    "watch_jobs": EVENT,
    "list_jobs": JOBS,
    "get_capabilities": CAPABILITIES,
    "healthz": HEALTHY,
    "readyz": READY,
}
"""Responses of successful requests by route name; with the status, if it is not the route's own."""

REDIRECT: dict[int | str, dict[str, Any]] = {
    307: {
        "description": "`Location` is a presigned URL of the file",
        "headers": {
            "Location": {
                "description": "A presigned URL, valid for the method of the request",
                "schema": {"type": "string"},
                "example": JOB["outputs"][0]["download_url"],
            }
        },
    }
}
