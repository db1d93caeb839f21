"""Warnings of decoders, which libvips collects in its buffer of errors.

A JPEG decoder that runs out of data, or finds data that is no code, warns and fills the rest of the picture with gray.
libvips can fail on all warnings, but some are about faults that no pixel depends on, such as stray bytes.
"""

from __future__ import annotations

import re

import pyvips
from pyvips import ffi, vips_lib

_DAMAGE = re.compile(
    r"premature end of data segment|bad Huffman code|bad arithmetic code|instead of RST"
    r"|extraneous bytes before marker 0xd[0-7]",
)
"""Messages of libjpeg's jerror.h: JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_ARITH_BAD_CODE, JWRN_MUST_RESYNC, and
JWRN_EXTRANEOUS_DATA at the end of a restart interval, which then had other data than were encoded."""


class _Latch:
    damage = False


def watch() -> None:
    """Collect warnings before pyvips clears libvips' buffer, as it does for any attribute of an image. Call it once.

    Messages that libvips writes while it works go to standard error. pyvips would log them by Python code on the thread
    that computes pixels, where a garbage collection may dispose of an image that is being computed, and abort.
    """
    pyvips._remove_log_handler()  # noqa: SLF001  # there is no public way
    clear = pyvips.Error.__init__

    def collect_and_clear(self: pyvips.Error, message: str, detail: str | None = None) -> None:
        damage_collected()
        clear(self, message, detail)

    pyvips.Error.__init__ = collect_and_clear


def reset() -> None:
    """Forget earlier warnings, before the pixels of a source are computed."""
    _Latch.damage = False
    vips_lib.vips_error_clear()


def discard() -> None:
    """Forget the warnings that libvips has collected since ``damage_collected``."""
    vips_lib.vips_error_clear()


def any_collected() -> bool:
    """Whether libvips' buffer has any warning."""
    return bool(_collected())


def damage_collected() -> bool:
    """Whether a warning since ``reset`` says that pixels are missing or wrong."""
    if not _Latch.damage and (collected := _collected()):
        _Latch.damage = bool(_DAMAGE.search(collected))
    return _Latch.damage


def _collected() -> str:
    buffer = vips_lib.vips_error_buffer()
    return "" if buffer[0] == b"\0" else ffi.string(buffer).decode("utf-8", "replace")
