"""The process that pixels live in: libvips set up for one transform at a time.

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
    """Set libvips up; once, at the start of the process, before any picture.

    - No cache of operations: a job's pixels are never wanted again, and must not be there for the next one.
    - One thread, unless ``VIPS_CONCURRENCY`` says otherwise: parallelism comes from jobs.
    - No decoder but the four that are offered, and none that libvips itself distrusts.
    - No font but those carried along.
    """
    pyvips.cache_set_max(0)
    if "VIPS_CONCURRENCY" not in os.environ:
        pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in _LOADERS:
        pyvips.operation_block_set(loader, False)
    _read_fonts()


def _read_fonts() -> None:
    """Have fontconfig read the carried fonts now, so that the first watermark does not wait for it.

    It wants to write a cache and complains where it can't, so it gets a directory for this moment: what it read stays
    in memory.
    """
    os.environ["FONTCONFIG_FILE"] = str(FONTS / "fonts.conf")
    with TemporaryDirectory(prefix="pixelflow-fonts-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        pyvips.Image.text("Pixel", font="Noto Sans 12").avg()
    del os.environ["XDG_CACHE_HOME"]
