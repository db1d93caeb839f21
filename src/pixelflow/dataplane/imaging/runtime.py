"""Process-wide setup of libvips, for one transform at a time.

It must never be used in a process that does anything else.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pyvips

FONTS = Path(__file__).with_name("fonts")
_LOADERS = ("VipsForeignLoadJpegFile", "VipsForeignLoadPngFile", "VipsForeignLoadWebpFile", "VipsForeignLoadHeifFile")


def prepare() -> None:
    """Configure libvips. Call it once, at the start of the process, before any image is processed.

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
    _load_fonts()


def _load_fonts() -> None:
    """Have fontconfig load the bundled fonts now, so that the first watermark does not wait for it.

    fontconfig writes a cache and warns if it can't, so it gets a temporary directory; the fonts stay in memory.
    """
    os.environ["FONTCONFIG_FILE"] = str(FONTS / "fonts.conf")
    with TemporaryDirectory(prefix="pixelflow-fonts-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        pyvips.Image.text("Pixel", font="Noto Sans 12").avg()
    del os.environ["XDG_CACHE_HOME"]
