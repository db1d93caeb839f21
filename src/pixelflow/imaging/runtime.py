"""Process-wide setup of libvips, for one transform at a time.

It must never be used in a process that does anything else.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyvips

FONTS = Path(__file__).with_name("fonts")
_LOADERS = (
    "VipsForeignLoadJpegSource",
    "VipsForeignLoadPngSource",
    "VipsForeignLoadWebpSource",
    "VipsForeignLoadHeifSource",
)

_FORMATS = ("jpeg", "png", "webp", "heif")
_OPERATIONS = (
    "autorot", "bandjoin", "black", "cast", "colourspace", "composite2", "copy", "embed", "extract_area",
    "extract_band", "flatten", "gaussblur", "icc_transform", "insert", "linear", "premultiply", "replicate", "resize",
    "rotate", "shrink", "smartcrop", "text", "thumbnail_image", "unpremultiply", "wrap",
)  # fmt: skip


def prepare(font_cache: Path) -> None:
    """Configure libvips. Call it once, at the start of the process, before any image is processed. Starts no thread.

    - The operation cache is off: a job's pixels are never reused, and the next job must not find them.
    - One thread, unless ``VIPS_CONCURRENCY`` is set: parallelism comes from jobs.
    - Only the decoders of the four supported formats are enabled, and none that libvips marks as untrusted.
    - Only the bundled fonts are available.
    """
    pyvips.cache_set_max(0)
    if "VIPS_CONCURRENCY" not in os.environ:
        pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in _LOADERS:
        pyvips.operation_block_set(loader, False)
    set_font_cache(font_cache)
    _load_operations()


def _load_operations() -> None:
    """Have pyvips look up the operations now, which forked children inherit. Calling one would start threads."""
    for format_ in _FORMATS:
        pyvips.Introspect.get(f"{format_}load_source")
        pyvips.Introspect.get(f"{format_}save_target")
    for name in _OPERATIONS:
        pyvips.Introspect.get(name)


def cache_fonts(cache: Path) -> None:
    """Have fontconfig write its cache of the bundled fonts to ``cache``, and render a text.

    With the cache, the first text of a process takes 5 ms instead of 15. Call it in a process of its own: rendering
    starts threads, which a process that forks must not have.
    """
    cache.mkdir(exist_ok=True)
    set_font_cache(cache)
    pyvips.Image.text("Pixel", font="Noto Sans 12").avg()


def set_font_cache(cache: Path) -> None:
    """Have fontconfig use the bundled fonts and the cache; it is read-only to a confined process."""
    os.environ["FONTCONFIG_FILE"] = str(FONTS / "fonts.conf")
    os.environ["XDG_CACHE_HOME"] = str(cache)
