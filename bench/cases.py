"""The cases: named sizes, formats and qualities that are the same for every contender."""

from __future__ import annotations

from typing import Any

TEXT = "© PixelFlow"
WEBP_WIDTHS = (320, 640, 960, 1280)

PIPELINES: dict[str, list[dict[str, Any]]] = {
    "jpeg_640": [{"id": "small", "action": "resize", "width": 640, "format": "jpeg", "quality": 80}],
    "webp_4": [
        {"id": f"w{width}", "action": "resize", "width": width, "format": "webp", "quality": 80}
        for width in WEBP_WIDTHS
    ],
    "webp_640": [{"id": "small", "action": "resize", "width": 640, "format": "webp", "quality": 80}],
    "avif_640": [{"id": "small", "action": "resize", "width": 640, "format": "avif", "quality": 50}],
    "six": [
        {"id": f"{format_}{width}", "action": "resize", "width": width, "format": format_, "quality": 80}
        for format_ in ("jpeg", "webp")
        for width in (320, 640, 960)
    ],
    "watermark": [
        {"id": "marked", "action": "watermark", "format": "jpeg", "quality": 80, "watermark": {"text": TEXT}}
    ],
    "gradient_jpeg": [{"id": "small", "action": "resize", "width": 640, "format": "jpeg", "quality": 82}],
    "gradient_watermark": [{"id": "marked", "action": "watermark", "format": "png", "watermark": {"text": TEXT}}],
    "photo_jpeg": [{"id": "small", "action": "resize", "width": 640, "format": "jpeg", "quality": 82}],
    "photo_png": [{"id": "small", "action": "resize", "width": 640, "format": "png"}],
}
"""Case → the pipeline of its job. The other contenders implement the same operations by hand."""

TITLES = {
    "jpeg_640": "one 640 px JPEG",
    "webp_4": "four WebP widths",
    "webp_640": "one 640 px WebP",
    "avif_640": "one 640 px AVIF, quality 50",
    "six": "six outputs (JPEG and WebP in three widths)",
    "watermark": "text watermark, JPEG",
    "gradient_jpeg": "1920×1080 gradient PNG → 640 px JPEG, quality 82",
    "gradient_watermark": "1920×1080 gradient PNG → text watermark, PNG",
    "photo_jpeg": "3.2 MP photo → 640 px JPEG, quality 82",
}
