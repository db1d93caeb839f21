"""libvips' errors told as PixelFlow's, in one place. Details must never carry a path or a library's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyvips

from pixelflow.contracts.errors import (
    JobError,
    OutOfMemoryError,
    StepFailedError,
    TransformCrashedError,
    UndecodableError,
)

# From libvips' iofuncs/memory.c and image.c, libheif, and strerror(3).
_NO_MEMORY = (
    "out of memory",
    "unable to allocate",
    "insufficient memory",
    "cannot allocate",
    "memory allocation",
    "security limit exceeded: allocating",
)
_NO_SPACE = ("no space left on device", "file too large", "disk quota exceeded")


@contextmanager
def decoding(format_: str) -> Iterator[None]:
    """Whatever goes wrong here is the source's fault.

    Raises:
        UndecodableError: the file is damaged or ends too early.
        OutOfMemoryError: it needs more memory than there is.
    """
    try:
        yield
    except (pyvips.Error, MemoryError) as error:
        raise _shortage(error) or UndecodableError(f"the {format_} data is damaged or ends too early") from error


@contextmanager
def applying(step_id: str, check_source: Callable[[], None]) -> Iterator[None]:
    """Whatever goes wrong here is the step's fault, unless ``check_source`` finds that the source is damaged.

    libvips computes lazily: damage in a source shows up when an output is written, in the words of whoever wrote it.
    So the source is asked on its own, once something has gone wrong.

    Raises:
        UndecodableError: the source is damaged or ends too early.
        OutOfMemoryError: the step needs more memory than there is.
        TransformCrashedError: the directory has no room for the output.
        StepFailedError: anything else.
    """
    try:
        yield
    except (pyvips.Error, MemoryError) as error:
        shortage = _shortage(error, step_id)
        if shortage is None:
            check_source()
        raise shortage or StepFailedError("the step can't be applied to this picture", step_id=step_id) from error


def _shortage(error: Exception, step_id: str | None = None) -> JobError | None:
    words = str(error).lower()
    if isinstance(error, MemoryError) or any(phrase in words for phrase in _NO_MEMORY):
        return OutOfMemoryError("the transform needed more memory than allowed", step_id=step_id)
    if any(phrase in words for phrase in _NO_SPACE):
        return TransformCrashedError("there was no room to write an output", step_id=step_id)
    return None
