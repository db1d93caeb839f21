"""Names that other image tools and APIs use, and what PixelFlow has in their place. All names are in lower case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Aliases = Mapping[str, Sequence[str]]
"""A name of another tool, with ``_`` between words → the names here that do the same, the likeliest first."""


def _by_alias(names: Mapping[str, str]) -> Aliases:
    aliases: dict[str, list[str]] = {}
    for name, others in names.items():
        for other in others.split():
            aliases.setdefault(other, []).append(name)
    return aliases


FIELDS = _by_alias(
    {
        # Steps
        "action": "op operation type transform transformation method filter effect command",
        "id": "name key step step_id label",
        "from": "input parent source_id source src in depends_on since start start_date from_date after_date",
        "output": "save keep export",
        "format": "type ext extension output_format to fmt f target_format file_format convert_to",
        "quality": "q compression",
        "width": "w size_x",
        "height": "h size_y",
        "fit": "mode resize_mode object_fit method crop",
        "gravity": "position anchor g placement align pos",
        "enlarge": "upscale allow_enlargement allow_upscale",
        "background": "bg bg_color background_color fill_color fill",
        "metadata": "tags context strip strip_metadata keep_metadata keep_exif exif meta custom labels",
        "color_space": "colorspace colorspace_out profile icc color_profile",
        "kernel": "interpolation resample sampling algorithm",
        "dpr": "pixel_ratio device_pixel_ratio",
        "angle": "rotation degrees deg rotate a",
        "rotation": "angle degrees",
        "direction": "axis horizontal vertical orientation",
        "sigma": "radius amount strength intensity blur level",
        "radius": "r corner_radius corners border_radius",
        "ratio": "aspect aspect_ratio ar",
        "x": "left offset_x",
        "y": "top offset_y",
        "threshold": "tolerance fuzz",
        "padding": "margin border",
        "size": "font_size block_size pixel_size text_size",
        "regions": "areas boxes rects",
        # Watermarks
        "watermark": "caption",
        "opacity": "transparency alpha",
        "font": "font_family typeface",
        "margin": "padding offset",
        "color": "text_color font_color fill stroke",
        # Jobs
        "pipeline": "steps operations transformations transforms actions tasks instructions",
        "webhook_url": "webhook webhooks callback callback_url notification_url notify_url notify hook hook_url",
        "source": "file source_file src upload",
        "object_key": "path file_path local_path",
        "content_length": "size content_size bytes length file_size",
        "content_type": "media_type mime_type mime type",
        "frame": "page page_number layer",
        "density": "dpi ppi resolution",
        # Keys
        "scopes": "permissions rights roles",
        "name": "label title description filename",
        "expires_at": "expires expires_in expiry ttl valid_until",
        # Queries
        "limit": "per_page page_size count max max_results",
        "cursor": "page offset after starting_after next next_cursor page_token",
        "status": "state",
        "to": "until end end_date to_date before",
        "group_by": "by group",
    }
)

_DOWN = {"top": "north", "upper": "north", "north": "north", "bottom": "south", "lower": "south", "south": "south"}
_ACROSS = {"left": "west", "right": "east"}
_MIDDLE = {"center": "", "middle": "", "centre": ""}
_PLACES: Aliases = {
    f"{first}{joint}{second}": [(_DOWN | _MIDDLE)[down] + (_ACROSS | _MIDDLE)[across] or "center"]
    for down in _DOWN | _MIDDLE
    for across in _ACROSS | _MIDDLE
    for first, second in ((down, across), (across, down))
    for joint in ("", "_")
} | {side: [place] for side, place in (_DOWN | _ACROSS).items()}
"""Such as ``top_left``, ``right_center`` and ``bottomright``."""

VALUES: Mapping[str, Aliases] = {
    "fit": _by_alias(
        {
            "cover": "crop fill_crop thumb thumbnail",
            "inside": "fit max limit clip scale_down bounds shrink",
            "outside": "min",
            "contain": "pad padded letterbox",
            "fill": "scale stretch force exact distort",
        }
    ),
    "gravity": {
        **_PLACES,
        **_by_alias(
            {
                "center": "middle centre c",
                "north": "n t",
                "south": "s b",
                "east": "e r",
                "west": "w l",
                "northeast": "ne",
                "northwest": "nw",
                "southeast": "se",
                "southwest": "sw",
                "faces": "face people",
                "attention": "smart auto subject",
            }
        ),
    },
    "format": _by_alias(
        {"jpeg": "jpe jfif pjpeg mozjpeg", "jxl": "jpegxl jpeg_xl", "heic": "heif", "png": "png8 png24"}
    ),
    "action": _by_alias(
        {
            "resize": "thumbnail thumb scale fit shrink downscale",
            "watermark": "text annotate label caption",
            "overlay": "logo composite",
            "crop": "extract smartcrop",
            "blur": "blurring gaussian_blur",
            "grayscale": "greyscale monochrome gray black_and_white bw",
            "flip": "mirror flop",
            "rotate": "rotation autorotate orient",
            "round": "rounded radius corners border_radius rounded_corners",
            "pad": "extend padding letterbox",
            "pixelate": "pixelize mosaic",
            "adjust": "brightness contrast saturation gamma modulate hue",
            "tint": "duotone sepia colorize",
            "sharpen": "unsharp unsharp_mask",
            "background": "flatten",
            "redact": "anonymize censor blackout",
            "convert": "encode compress optimize format quality strip",
        }
    ),
    "direction": _by_alias(
        {"horizontal": "h x horizontally left_right mirror", "vertical": "v y vertically flip", "both": "hv xy"}
    ),
    "priority": _by_alias({"high": "urgent highest", "normal": "medium default", "low": "lowest background"}),
    "source_type": _by_alias({"s3_presigned": "s3 upload presigned", "local_file": "file local path"}),
    "status": _by_alias(
        {
            "created": "new draft",
            "queued": "pending waiting",
            "processing": "running started active in_progress",
            "succeeded": "done completed complete finished success ok",
            "failed": "error failure",
            "canceled": "aborted stopped",
        }
    ),
    "metadata": _by_alias({"all": "keep true", "strip": "none remove false"}),
    "color": _by_alias({"transparent": "none clear"}),
}
"""By field: values of other tools, and the values that do the same here.

A value that is valid is never looked up, so an entry may give one tool's meaning of a word that PixelFlow uses too.
"""

_UPLOAD = "PUT the file to `presigned_put_url` of the response"
_SOURCE = f'for a file on a web server, set `"source": {{"url": "https://…"}}`; else {_UPLOAD}'
_ASSET = 'pictures are assets: POST /v1/assets, then set `"image": {"asset": "logo"}` in an `overlay` step'
_IN_STEP = "each step of `pipeline` is one output: set its fields there"
_BESIDE_ACTION = "write the fields of the action beside `action`"
_SIZE = "set `width`, `height` or both, in pixels"
_ORIENTED = "sources are always turned upright"
_USER = "the API key determines the user"

HINTS: Mapping[str, Mapping[str, str]] = {
    "job": {
        **dict.fromkeys(["url", "source_url", "image_url", "image", "images", "input_url"], _SOURCE),
        **dict.fromkeys(["outputs", "output", "sizes", "variants", "presets", "preset"], _IN_STEP),
        **dict.fromkeys(["user_id", "user", "tenant"], _USER),
        "bucket": "the operator sets the bucket",
        "dry_run": "send it in the query: POST /v1/jobs?dry_run=true",
        "idempotency_key": "send it as the header `Idempotency-Key`",
        "name": "use `metadata` for values of your own",
    },
    "source": {
        **dict.fromkeys(["uri", "href"], "use `url`"),
        **dict.fromkeys(["data", "base64"], _UPLOAD),
        **dict.fromkeys(["filename", "name"], "use `metadata` for values of your own"),
        **dict.fromkeys(["path", "object_key"], 'for a local file, set `"source_type": "local_file"` and `object_key`'),
    },
    "step": {
        **dict.fromkeys(["params", "options", "args", "arguments", "config", "settings"], _BESIDE_ACTION),
        **dict.fromkeys(["dimensions", "geometry", "scale", "percent"], _SIZE),
        **dict.fromkeys(["without_enlargement", "no_upscale"], "that is the default; `enlarge` changes it"),
        **dict.fromkeys(["progressive", "lossless", "effort", "interlace"], "set it in `encoder`, with `format`"),
        **dict.fromkeys(["asset", "logo", "picture", "url", "src", "overlay"], _ASSET),
        **dict.fromkeys(["auto_orient", "autorotate", "orient"], _ORIENTED),
    },
    "watermark": dict.fromkeys(["url", "image", "logo", "src", "asset"], _ASSET),
    "key": dict.fromkeys(["user_id", "user"], _USER),
}
"""By object: unknown fields that no field here replaces, and what to do instead."""
