"""What the end of a child says about the job that it ran."""

from __future__ import annotations

import re
import signal

from pixelflow.dataplane.worker.template import ChildDiedError
from pixelflow.errors import OutOfMemoryError, TransformCrashedError

_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)
"""Signals by which the kernel or the C library ends faulty native code. SIGKILL is another process's, or the kernel's
when memory runs out."""
_OUT_OF_MEMORY = re.compile(
    r"terminate called after throwing an instance of 'std::(bad_alloc|bad_array_new_length)'"  # libstdc++
    r"|GLib-ERROR \*\*: .*failed to allocate \d+ bytes"  # gmem.c
    r"|memory allocation of \d+ bytes failed"  # Rust: librsvg
    r"|cannot allocate memory for thread-local data: ABORT"  # glibc
    r"|libgomp: Out of memory allocating \d+ bytes"
)
"""The last words of code that ends its process for want of memory. Most libraries report it instead."""


def job_error(error: ChildDiedError) -> OutOfMemoryError | TransformCrashedError:
    """Return the error of the job whose child died.

    A child that lies about memory gains nothing: it could have refused the job so.
    """
    if _OUT_OF_MEMORY.search(error.stderr):
        return OutOfMemoryError("The transform needed more memory than allowed")
    if error.signal in _FAULTS:
        name = signal.Signals(error.signal).name
        return TransformCrashedError(f"The transform process crashed ({name})", signal=name)
    return TransformCrashedError("The transform process died")
