"""Process-wide setup of libvips, for one transform at a time.

It must never be used in a process that does anything else.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pyvips

from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.colour import tables
from pixelflow.imaging.extras import installed
from pixelflow.imaging.faces import EXTRA as FACES
from pixelflow.imaging.formats.registry import INPUT_FORMATS, OUTPUT_FORMATS
from pixelflow.imaging.operations.registry import OPERATIONS

_SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""For NumPy, which would start threads when it is imported, and LibRaw. The template must have one thread."""
_MAX_REASON = 300
_KEPT_BYTES = 32 * 1024 * 1024
"""Free memory that the allocator keeps at the end of its heap, and the largest block that it takes from the heap.

By default glibc returns what it can from 128 kB on, or from up to 64 MB after large blocks have been freed: a job with
a photo of 1 MP took 500 page faults, 7 % of its CPU. A process that has scaled photos of 1 to 24 MP keeps 70 MB, not
90.
"""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
FONTS = Path(__file__).with_name("fonts")


def prepare(font_cache: Path) -> dict[str, str]:
    """Configure libvips. Call it once, at the start of the process, before any image is processed. Starts no thread.

    Return why optional capabilities that are installed can't be used, by their names: their code does not load.

    - The operation cache is off: a job's pixels are never reused, and the next job must not find them.
    - Freed memory is kept for the next job, up to a limit.
    - One thread, unless ``VIPS_CONCURRENCY`` is set: parallelism comes from jobs.
    - Only the decoders that the formats name in ``LOADERS`` are enabled; of those that libvips marks as untrusted, only
      that of SVG.
    - Only the bundled fonts are available.
    - The tables of color conversion are computed.
    - All code of formats and operations is loaded, since a confined child can open no file.
    """
    _keep_memory()
    decoder_warnings.watch()
    pyvips.cache_set_max(0)
    if "VIPS_CONCURRENCY" not in os.environ:
        pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    modules, broken = _load_code()
    for module in modules:
        for loader in getattr(module, "LOADERS", ()):
            pyvips.operation_block_set(loader, False)
    tables.prepare()
    set_font_cache(font_cache)
    return broken


def _keep_memory() -> None:
    """Set both thresholds of glibc: to set one ends the growth of the other."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # not in other C libraries
        for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            set_option(option, _KEPT_BYTES)


def _load_code() -> tuple[list[ModuleType], dict[str, str]]:
    """Import all native code and pixel modules; return the modules of the former, and why those of extras failed.

    pyvips looks up all operations of libvips now, which forked children inherit. Calling one would start threads.
    """
    for operation in OPERATIONS.values():
        import_module(f"{operation.package}.pixels")
    _look_up(pyvips.type_from_name("VipsOperation"))
    os.environ |= _SINGLE_THREADED
    modules: list[ModuleType] = []
    broken: dict[str, str] = {}
    present = {None, *installed()}
    for extra, name in _native_code():
        if extra not in present:
            continue
        try:
            modules.append(import_module(f"pixelflow.imaging.{name}"))
        except Exception as error:
            if extra is None:
                raise
            broken[extra] = f"{type(error).__name__}: {error}"[:_MAX_REASON]
    return modules, broken


def _native_code() -> Iterator[tuple[str | None, str]]:
    """Yield the modules of codecs and of the detector of faces, with the extra that each needs."""
    for formats, part in ((INPUT_FORMATS, "load"), (OUTPUT_FORMATS, "save")):
        for format_ in formats.values():
            yield format_.extra, f"formats.{format_.name}.{part}"
    yield FACES, "face_detection"


def _look_up(kind: Any, *_: Any) -> Any:  # noqa: ANN401 - types of libvips
    """Have pyvips look up the operation, if the type is not abstract, and all its subtypes. Takes 20 ms for all.

    The first call of an operation makes its documentation; calls need it in the cache.
    """
    with suppress(pyvips.Error):
        pyvips.Operation.generate_docstring(pyvips.nickname_find(kind))
    pyvips.type_map(kind, _look_up)
    return pyvips.ffi.NULL


def libvips_version() -> str:
    """The version of libvips, such as ``8.18.2``."""
    return ".".join(str(pyvips.version(part)) for part in range(3))


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
