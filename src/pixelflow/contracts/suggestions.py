"""«Did you mean»: the field or value that a client most likely meant, by the names of other tools and by spelling.

A suggestion is always a name of PixelFlow's own. It never repeats what the client sent, except a name of ``FIELDS``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

MAX_LENGTH = 32
"""Characters of a name that is compared. The longest field name has half as many."""
_CUTOFF = 0.65
"""Least similarity (difflib's ratio). Two letters exchanged in a word of six, such as «rezise», are 0.67."""

FIELDS: Mapping[str, str] = {
    "w": "width",
    "h": "height",
    "q": "quality",
    "op": "action",
    "operation": "action",
    "type": "action",
    "transform": "action",
    "method": "action",
    "name": "id",
    "input": "from",
    "parent": "from",
    "source_id": "from",
    "mode": "fit",
    "resize_mode": "fit",
    "object_fit": "fit",
    "position": "gravity",
    "anchor": "gravity",
    "g": "gravity",
    "upscale": "enlarge",
    "allow_enlargement": "enlarge",
    "bg": "background",
    "bg_color": "background",
    "background_color": "background",
    "fill_color": "background",
    "ext": "format",
    "extension": "format",
    "output_format": "format",
    "steps": "pipeline",
    "operations": "pipeline",
    "transformations": "pipeline",
    "webhook": "webhook_url",
    "callback": "webhook_url",
    "callback_url": "webhook_url",
    "notification_url": "webhook_url",
    "tags": "metadata",
    "context": "metadata",
    "file": "source",
    "size": "content_length",
    "content_size": "content_length",
    "media_type": "content_type",
    "mime_type": "content_type",
    "angle": "rotation",
    "transparency": "opacity",
    "font_size": "size",
    "font_family": "font",
    "padding": "margin",
    "offset": "margin",
    "sigma": "radius",
}
"""Names of other tools' fields, in lower case with ``_``, and the fields that do the same here."""

_PLACES = {
    "top": "north",
    "bottom": "south",
    "left": "west",
    "right": "east",
    "middle": "center",
    "centre": "center",
    "center_center": "center",
    "top_left": "northwest",
    "top_right": "northeast",
    "bottom_left": "southwest",
    "bottom_right": "southeast",
    "left_top": "northwest",
    "right_top": "northeast",
    "left_bottom": "southwest",
    "right_bottom": "southeast",
    "top_center": "north",
    "bottom_center": "south",
    "n": "north",
    "s": "south",
    "e": "east",
    "w": "west",
    "ne": "northeast",
    "nw": "northwest",
    "se": "southeast",
    "sw": "southwest",
    "faces": "attention",
    "face": "attention",
    "smart": "attention",
    "auto": "attention",
    "subject": "attention",
}
VALUES: Mapping[str, Mapping[str, str]] = {
    "fit": {
        "crop": "cover",
        "fill": "cover",
        "fit": "inside",
        "max": "inside",
        "limit": "inside",
        "clip": "inside",
        "scale_down": "inside",
        "bounds": "inside",
        "min": "outside",
        "pad": "contain",
        "padded": "contain",
        "letterbox": "contain",
        "scale": "fill",
        "stretch": "fill",
        "force": "fill",
        "exact": "fill",
    },
    "gravity": _PLACES,
    "format": {"jpe": "jpeg", "jfif": "jpeg", "pjpeg": "jpeg", "jpegxl": "jxl", "heif": "heic"},
    "action": {
        "thumbnail": "resize",
        "thumb": "resize",
        "scale": "resize",
        "fit": "resize",
        "text": "watermark",
        "annotate": "watermark",
        "label": "watermark",
        "logo": "overlay",
        "composite": "overlay",
        "extract": "crop",
        "smartcrop": "crop",
        "blurring": "blur",
        "greyscale": "grayscale",
        "monochrome": "grayscale",
        "mirror": "flip",
        "flop": "flip",
        "rounded": "round",
        "extend": "pad",
        "pixelize": "pixelate",
        "mosaic": "pixelate",
        "brightness": "adjust",
        "contrast": "adjust",
        "saturation": "adjust",
        "gamma": "adjust",
        "modulate": "adjust",
        "duotone": "tint",
        "sepia": "tint",
        "colorize": "tint",
        "unsharp": "sharpen",
        "unsharp_mask": "sharpen",
        "flatten": "background",
        "caption": "watermark",
        "anonymize": "redact",
        "censor": "redact",
        "blackout": "redact",
        "encode": "convert",
        "compress": "convert",
        "optimize": "convert",
    },
    "priority": {"urgent": "high", "medium": "normal", "default": "normal"},
    "source_type": {"s3": "s3_presigned", "upload": "s3_presigned", "file": "local_file", "local": "local_file"},
}
"""By field: values of other tools, in lower case with ``_``, and the values that do the same here.

A value that is valid is never looked up, so an entry may give one tool's meaning of a word that PixelFlow uses too.
"""


def similar(word: object, known: Collection[str], aliases: Mapping[str, str]) -> str | None:
    """Return the entry of ``known`` that ``word`` most likely means, if there is one.

    Args:
        word: what the client sent; anything but a short string has no suggestion.
        known: the names that are valid in its place.
        aliases: names of other tools; those whose meaning is not in ``known`` are ignored.
    """
    if not isinstance(word, str) or not 0 < len(word) <= MAX_LENGTH:
        return None
    normal = re.sub(r"[\s-]+", "_", word.strip().lower())
    if normal in known:
        return normal
    if (meant := aliases.get(normal)) in known:
        return meant
    found = difflib.get_close_matches(normal, known, n=1, cutoff=_CUTOFF)
    return found[0] if found else None


def misnamed(field: str, names: Iterable[object]) -> str | None:
    """Return the first of the ``names`` that other tools use for ``field``."""
    return next((name for name in names if isinstance(name, str) and FIELDS.get(name) == field), None)


# ── Known fields ─────────────────────────────────────────────────────────────────────────────────


def fields_at(model: type[BaseModel], location: Iterable[int | str]) -> set[str]:
    """The names of the fields at a location of Pydantic's, which contains the tags of unions; empty if it has none."""
    schema = _schema(model)
    nodes = [schema]
    for part in location:
        nodes = [child for node in nodes for child in _children(schema, node, part)]
    return {name for node in nodes for each in _alternatives(schema, node) for name in each.get("properties", {})}


@lru_cache(maxsize=16)
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True, mode="validation")


def _children(schema: dict[str, Any], node: dict[str, Any], part: int | str) -> Iterator[dict[str, Any]]:
    tags = node.get("discriminator", {}).get("mapping", {})
    if part in tags:
        yield _resolve(schema, tags[part])
        return
    for each in _alternatives(schema, node):
        if isinstance(part, int) and "items" in each:
            yield each["items"]
        elif part in each.get("properties", {}):
            yield each["properties"][part]


def _alternatives(schema: dict[str, Any], node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in node:
        node = _resolve(schema, node["$ref"])
    yield node
    for each in node.get("anyOf", ()):
        yield from _alternatives(schema, each)


def _resolve(schema: dict[str, Any], reference: str) -> dict[str, Any]:
    definition: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return definition
