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
        "action": "op operation type transform transformation method filter effect command e",
        "id": "name key step step_id label",
        "from": "input parent source_id source src in depends_on since start start_date from_date after_date",
        "output": "save keep export",
        "format": "type ext extension output_format to fmt f fm fetch_format target_format file_format convert_to",
        "quality": "q compression",
        "width": "w size_x thickness",
        "height": "h size_y",
        "fit": "mode resize_mode resizing_type object_fit method crop c rs rt fit_in",
        "gravity": "position anchor g placement align pos halign valign fo crop_gravity",
        "focus": "fp fp_x fp_y focal_point focalpoint",
        "enlarge": "upscale allow_enlargement allow_upscale el",
        "min_width": "min_w mw",
        "min_height": "min_h mh",
        "max_width": "max_w",
        "max_height": "max_h",
        "background": "bg bg_color background_color fill_color fill color",
        "metadata": "tags context strip strip_metadata keep_metadata keep_exif exif meta custom labels sm",
        "color_space": "colorspace colorspace_out profile icc color_profile cs strip_profile scp strip_color_profile",
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
        "at": "offset position location",
        # Watermarks
        "watermark": "caption",
        "opacity": "transparency alpha",
        "font": "font_family typeface",
        "margin": "padding offset",
        "color": "text_color font_color fill stroke",
        # Jobs
        "pipeline": "steps operations transformations transformation transforms actions tasks instructions eager "
        "filters",
        "webhook_url": "webhook webhooks callback callback_url notification notification_url notify notify_url hook "
        "hook_url eager_notification_url",
        "source": "file source_file src upload",
        "destination": "folder target output_location",
        "preset": "presets upload_preset template",
        "sha256": "checksum hash etag md5 sha1 digest sha_256",
        "object_key": "path file_path local_path",
        "content_length": "size content_size bytes length file_size",
        "content_type": "media_type mime_type mime type",
        "frame": "page page_number layer",
        "density": "dpi ppi resolution",
        # Webhook endpoints
        "url": "webhook_url endpoint endpoint_url target_url callback_url hook_url",
        "event_types": "events event types enabled_events topics",
        "enabled": "active is_active is_enabled",
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
    for joint in ("", "_", ",")
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
                "center": "middle centre c ce xy_center",
                "north": "n t no",
                "south": "s b so",
                "east": "e r ea",
                "west": "w l we",
                "northeast": "ne noea",
                "northwest": "nw nowe",
                "southeast": "se soea",
                "southwest": "sw sowe",
                "faces": "face people g_face g_faces adv_face auto:face auto:faces face:auto fo_face faces,top",
                "attention": "smart auto subject sm obj objw g_auto auto:subject auto:salient edges fo_auto body",
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
            "round": "rounded radius corners border_radius rounded_corners round_corners",
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
_OBJECT = 'for an object in a bucket, set `"source": {"bucket": "NAME", "key": "photos/1.jpg"}`'
_PATH = 'for an object in a bucket, set `bucket` and `key`; for a local file, `"source_type": "local_file"`'
_IN_STEP = "each step of `pipeline` is one output: set its fields there"
_BESIDE_ACTION = "write the fields of the action beside `action`"
_SIZE = "set `width`, `height` or both, in pixels"
_ORIENTED = "sources are always turned upright"
_USER = "the API key determines the user"
_SIGNED_ALIKE = "all your webhooks have the same secret: POST /v1/webhook-secret"
_NAMED = "an output has the `id` of its step as its name; `destination` sets another"
_ASYNC = "jobs run asynchronously: GET /v1/jobs/{job_id} returns the state"
_EACH_FORMAT = "write a step for each format, such as `avif` and `webp`"
_NONE = "PixelFlow has no operation for it"
_UNSUPPORTED = (
    *("invert", "negate", "negative", "vignette", "oil", "oil_paint", "median", "emboss", "edge", "noise"),
    *("normalize", "normalise", "equalize", "auto_contrast", "despeckle", "swirl", "distort", "enhance"),
    *("background_removal", "bg_remove", "remove_background"),
)
_NO_SIDE = {"auto": "omit it: it follows from the aspect ratio"}
_MARK_PLACE = 'set `gravity` and `margin`, such as `"gravity": "southeast", "margin": 24`'
_STOPS = 'set `stops`, such as [{"color": "#ff0080"}, {"color": "#0080ff"}]'
_SMART = 'set `"gravity": "attention"`'
_CONTAIN = 'set `width`, `height` and `"fit": "contain"`'
_FOCUS = 'set `focus` instead, such as {"x": 0.3, "y": 0.7}'

HINTS: Mapping[str, Mapping[str, str]] = {
    "job": {
        **dict.fromkeys(["url", "source_url", "image_url", "image", "images", "input_url"], _SOURCE),
        **dict.fromkeys(["outputs", "output", "sizes", "variants"], _IN_STEP),
        **dict.fromkeys(["user_id", "user", "tenant"], _USER),
        "bucket": "set `bucket` in `destination`, or in `source` for an object that is there already",
        **dict.fromkeys(["key", "s3_key"], _OBJECT),
        **dict.fromkeys(["filename", "public_id", "output_name"], _NAMED),
        **dict.fromkeys(["expires", "expires_in", "expires_at", "ttl"], "the operator sets how long files are kept"),
        **dict.fromkeys(["async", "sync", "wait", "timeout"], _ASYNC),
        "dry_run": "send it in the query: POST /v1/jobs?dry_run=true",
        "idempotency_key": "send it as the header `Idempotency-Key`",
        "name": "use `metadata` for values of your own",
    },
    "source": {
        **dict.fromkeys(["uri", "href"], "use `url`"),
        **dict.fromkeys(["data", "base64"], _UPLOAD),
        **dict.fromkeys(["filename", "name"], "use `metadata` for values of your own"),
        **dict.fromkeys(["path", "object_key"], _PATH),
        **dict.fromkeys(["s3", "s3_key", "s3_url", "s3_uri"], "for an object in a bucket, set `bucket` and `key`"),
    },
    "step": {
        **dict.fromkeys(["params", "options", "args", "arguments", "config", "settings"], _BESIDE_ACTION),
        **dict.fromkeys(["dimensions", "geometry", "scale", "percent", "zoom", "z"], _SIZE),
        **dict.fromkeys(["without_enlargement", "no_upscale"], "that is the default; `enlarge` changes it"),
        **dict.fromkeys(["progressive", "lossless", "effort", "interlace"], "set it in `encoder`, with `format`"),
        **dict.fromkeys(["asset", "logo", "picture", "url", "src", "overlay"], _ASSET),
        **dict.fromkeys(["auto_orient", "autorotate", "orient"], _ORIENTED),
        **dict.fromkeys(["page", "pages", "frame", "animated", "pg"], "set `frame` in `source`, beside `pipeline`"),
        **dict.fromkeys(["density", "dpi", "ppi", "dn"], "set `density` in `source`, beside `pipeline`"),
        **dict.fromkeys(["auto", "f_auto", "auto_format"], _EACH_FORMAT),
        **dict.fromkeys(["filename", "file_name", "public_id", "fn"], _NAMED),
        **dict.fromkeys(["max_bytes", "mb", "target_size"], "no size in bytes can be requested; reduce `quality`"),
        **dict.fromkeys(_UNSUPPORTED, _NONE),
    },
    "watermark": {
        **dict.fromkeys(["url", "image", "logo", "src", "asset"], _ASSET),
        **dict.fromkeys(["x", "y", "dx", "dy", "left", "top", "offset_x", "offset_y"], _MARK_PLACE),
        **dict.fromkeys(["repeat", "tiled", "replicate"], "did you mean `tile`?"),
    },
    "image": dict.fromkeys(["url", "src", "path", "file"], _ASSET),
    "key": dict.fromkeys(["user_id", "user"], _USER),
    "endpoint": dict.fromkeys(["secret", "signing_secret"], _SIGNED_ALIKE),
}
"""By object: unknown fields that no field here replaces, and what to do instead."""

STEP_HINTS: Mapping[str, Mapping[str, str]] = {
    "resize": {
        **dict.fromkeys(["size", "s", "sz"], _SIZE),
        **dict.fromkeys(["extend", "ex", "pad", "letterbox"], _CONTAIN),
        **dict.fromkeys(["smart", "smartcrop"], f'{_SMART} with `"fit": "cover"`'),
    },
    "crop": {
        **dict.fromkeys(["smart", "smartcrop"], _SMART),
        **dict.fromkeys(
            ["x1", "y1", "x2", "y2", "right", "bottom", "box", "rect", "region", "geometry", "area"],
            "set `x`, `y`, `width` and `height`",
        ),
    },
    "border": {"size": "did you mean `width`?"},
    "gradient": {
        **dict.fromkeys(["color", "colors", "color_stops", "to", "start", "end", "start_color", "end_color"], _STOPS),
        "direction": "set `angle`, in degrees as in CSS: 90 is toward the right, 180 toward the bottom",
    },
    "redact": dict.fromkeys(["faces", "face", "detect"], "list the rectangles in `regions`; faces are not detected"),
    "tint": dict.fromkeys(["color", "tone"], "set `shadows`, `midtones` or `highlights` to a color"),
    "adjust": dict.fromkeys(["exposure", "lightness"], "set `brightness` to a factor such as 1.2"),
}
"""By action: unknown fields of a step, and what to do instead. They precede those of ``HINTS``."""

VALUE_HINTS: Mapping[str, Mapping[str, str]] = {
    "gravity": {
        **dict.fromkeys(["fp", "fo", "focalpoint", "focal_point", "xy", "custom"], _FOCUS),
        **dict.fromkeys(["replicate", "tile", "repeat"], 'set `"tile": true`'),
    },
    "format": dict.fromkeys(["auto", "best"], _EACH_FORMAT),
    "quality": dict.fromkeys(["auto", "best", "good"], "omit it for the default of the format"),
    "width": _NO_SIDE,
    "height": _NO_SIDE,
    "dpr": {"auto": "write a step for each ratio, such as 1 and 2"},
    "angle": dict.fromkeys(["auto", "exif"], _ORIENTED),
    "radius": dict.fromkeys(["max", "circle", "full"], 'did you mean "50%"?'),
}
"""By field: values of other tools that no value here replaces, and what to do instead."""

OPERATION_FIELDS = _by_alias(
    {
        "resize": "width height fit kernel enlarge dpr zoom",
        "crop": "ratio aspect_ratio ar crop_rect",
        "rotate": "angle rotation rot rt degrees",
        "blur": "sigma bl gaussian",
        "sharpen": "sh sharp usm",
        "round": "r corner_radius",
        "border": "bo",
        "pad": "pd margin",
        "watermark": "wm txt mark",
        "overlay": "opacity blend",
        "pixelate": "px pix",
        "adjust": "bri con sat vib",
        "tint": "duotone monochrome htn",
        "gradient": "stops colors",
        "redact": "regions",
        "trim": "threshold",
    }
)
"""Fields that are part of another operation, here or in other tools."""

ENCODER_OPTIONS = _by_alias(
    {
        "chroma": "chroma_subsampling subsampling subsample sampling_factor",
        "progressive": "interlace interlaced adam7",
        "effort": "speed method reduction_effort compression_level level cpu_used",
        "colors": "colours color_count palette_size max_colors n_colors",
        "palette": "indexed quantize quantise",
        "dither": "dithering",
        "lossless": "loss_less",
        "trellis": "mozjpeg trellis_quantisation trellis_quantization",
        "optimize": "optimise optimize_coding optimise_coding optimize_scans",
        "bit_depth": "bitdepth bits depth",
        "tile": "tiled tiling",
    }
)
"""Options of encoders."""
