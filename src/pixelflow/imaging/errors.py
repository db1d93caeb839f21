"""Maps libvips errors to job errors. Details must never contain a path or a library's message."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from traceback import extract_tb

import pyvips

from pixelflow.errors import (
    JobError,
    OutOfMemoryError,
    OutputTooLargeError,
    PixelflowError,
    StepFailedError,
    UndecodableError,
    WorkerUnavailableError,
)

# Parts of messages from libvips' iofuncs/memory.c and image.c, from libheif, and from strerror(3).
_OUT_OF_MEMORY = (
    "out of memory",
    "unable to allocate",
    "insufficient memory",
    "cannot allocate",
    "failed to allocate",
    "memory allocation",
    "security limit exceeded: allocating",
)
_DAMAGED = (
    "to read tiff directory",
    "out of memory reading of",
    "exceeds security limit",
    "exceeds the security limit",
    "exceeds the maximum image size",
)
"""Parts of messages about memory by which libtiff and libheif report counts and sizes that no sound file has."""
_OF_THE_PROGRAM = (NameError, ImportError)
"""Errors that no data can cause. They end the child, with a traceback in the worker's log."""
_TOO_LARGE = "file too large"  # RLIMIT_FSIZE
_NO_SPACE = ("no space left on device", "disk quota exceeded")


@contextmanager
def map_decode_errors(format_: str) -> Iterator[None]:
    """Attribute every error in the context to the source.

    Each decoder in Python has exceptions of its own, and no list of them would be complete. One that escaped would end
    the child, and the job be tried again in others.

    Args:
        format_: label of the format in messages.

    Raises:
        UndecodableError: the file is damaged or truncated.
        OutOfMemoryError: decoding ran out of memory.
        WorkerUnavailableError: the disk is full.
    """
    try:
        yield
    except (PixelflowError, *_OF_THE_PROGRAM):
        raise
    except Exception as error:
        _report("decoding", error)
        raise _resource_error(error) or damaged(format_) from error


def _report(work: str, error: Exception) -> None:
    """Write type and place to stderr, so that an error in this code can be distinguished from damaged file."""
    if isinstance(error, (pyvips.Error, MemoryError)):
        return
    place = extract_tb(error.__traceback__, limit=-1)[0]
    report = f"{work} failed: {type(error).__name__} in {place.name}, line {place.lineno}\n"
    with suppress(OSError):  # a child's stderr is a small pipe, and libvips' warnings may have filled it
        os.write(2, report.encode())


def damaged(format_: str) -> UndecodableError:
    """Return the error for a source that lacks pixels or has wrong ones."""
    return UndecodableError(f"The {format_} data is damaged or truncated")


@contextmanager
def map_step_errors(step_id: str, check_source: Callable[[], None]) -> Iterator[None]:
    """Attribute every error in the context to the step, unless ``check_source`` finds that the source is damaged.

    libvips computes lazily: a damaged source fails when an output is written, with a message of the encoder. So
    ``check_source`` decodes the source on its own after an error. Encoders and models in Python have exceptions of
    their own.

    Raises:
        UndecodableError: the source is damaged or truncated.
        OutOfMemoryError: the step ran out of memory.
        WorkerUnavailableError: the disk has no space for the output.
        StepFailedError: any other error.
    """
    try:
        yield
    except (PixelflowError, *_OF_THE_PROGRAM):
        raise
    except Exception as error:
        _report(f"step {step_id}", error)
        resource_error = _resource_error(error, step_id)
        if resource_error is None:
            check_source()
        raise resource_error or StepFailedError("The step can't be applied to this image", step_id=step_id) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether the error of a library says that it got no memory."""
    message = str(error).lower()
    if isinstance(error, MemoryError):
        return True
    return any(phrase in message for phrase in _OUT_OF_MEMORY) and not any(phrase in message for phrase in _DAMAGED)


def _resource_error(error: Exception, step_id: str | None = None) -> JobError | WorkerUnavailableError | None:
    message = str(error).lower()
    if is_out_of_memory(error):
        return OutOfMemoryError("The transform needed more memory than allowed", step_id=step_id)
    if _TOO_LARGE in message:
        return OutputTooLargeError("The outputs exceed the byte limit", step_id=step_id)
    if any(phrase in message for phrase in _NO_SPACE):
        return WorkerUnavailableError("There was no disk space to write an output")
    return None
