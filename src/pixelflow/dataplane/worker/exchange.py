"""File exchange between a worker and one child: the source is moved in, outputs are copied out.

A child that a malicious image has taken over can do anything in its folder. So the worker accesses the folder by
descriptor, never follows links, and reads each output once, into a copy that no child can access: it hashes and stores
that copy. Creating a file or folder costs more than writing its bytes, so a job uses as few as possible.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from pixelflow.contracts.errors import OutputTooLargeError, TransformCrashedError
from pixelflow.contracts.pipeline import Format, Step, output_name
from pixelflow.dataplane.protocol import Rendered, RenderedOutput, TransformLimits

_CHUNK = 1024 * 1024
_MAX_IN_MEMORY = 1024 * 1024
"""Bytes; copies of larger outputs are kept in a file."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SOURCE, _OUTPUTS = "source", "outputs"


@dataclass(frozen=True)
class CopiedOutput:
    """A copy of an output that the child can't access."""

    step_id: str
    format: Format
    width: int
    height: int
    content: IO[bytes]
    """Positioned at its start; the owner closes it."""
    bytes: int
    sha256: str


class Exchange:
    """A child's folder, from before the child starts until after it ends: file ``source`` and folder ``outputs``."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / _SOURCE
        self.outputs = folder / _OUTPUTS
        self._folder = os.open(folder, _FOLDER)
        os.mkdir(_OUTPUTS, dir_fd=self._folder)
        self._outputs = os.open(_OUTPUTS, _FOLDER, dir_fd=self._folder)

    def put_source(self, source: Path) -> None:
        """Move the source into the child's folder."""
        os.rename(source, _SOURCE, dst_dir_fd=self._folder)

    def read_outputs(
        self, rendered: Rendered, steps: Sequence[Step], limits: TransformLimits, scratch: Path
    ) -> list[CopiedOutput]:
        """Copy the outputs: small ones into memory, large ones into unnamed files in ``scratch``.

        Raises:
            TransformCrashedError: the reply does not match the request, or an output is missing.
            OutputTooLargeError: the outputs exceed the byte limit together.
        """
        _check_reply(rendered, steps, limits)
        remaining, copies = limits.max_output_bytes, []
        with ExitStack() as opened:
            for output in rendered.outputs:
                copy = opened.enter_context(SpooledTemporaryFile(_MAX_IN_MEMORY, dir=str(scratch)))
                copies.append(self._copy(output, copy, remaining))
                remaining -= copies[-1].bytes
            opened.pop_all()
        return copies

    def _copy(self, output: RenderedOutput, copy: IO[bytes], max_bytes: int) -> CopiedOutput:
        digest, size = hashlib.sha256(), 0
        with self._open_output(output_name(output.step_id, output.format)) as file:
            while chunk := file.read(_CHUNK):
                size += copy.write(chunk)
                digest.update(chunk)
                if size > max_bytes:
                    raise OutputTooLargeError("The outputs exceed the byte limit", step_id=output.step_id)
        copy.seek(0)
        return CopiedOutput(output.step_id, output.format, output.width, output.height, copy, size, digest.hexdigest())

    @contextmanager
    def _open_output(self, name: str) -> Iterator[BufferedReader]:
        try:
            descriptor = os.open(name, _FILE, dir_fd=self._outputs)
        except OSError as error:
            raise _invalid_reply() from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _invalid_reply()
        with open(descriptor, "rb") as file:  # noqa: PTH123  # from a descriptor
            yield file

    def reset(self) -> None:
        """Remove the source and the outputs; anything unexpected stays, and ``is_empty`` then returns False."""
        for name in _names_in(self._outputs):
            _unlink(name, self._outputs)
        _unlink(_SOURCE, self._folder)

    @property
    def is_empty(self) -> bool:
        """Whether the folder holds only the original outputs folder, and that is empty."""
        try:
            if _names_in(self._folder) != [_OUTPUTS] or _names_in(self._outputs):
                return False
            current = os.stat(_OUTPUTS, dir_fd=self._folder, follow_symlinks=False)
        except OSError:  # removed meanwhile
            return False
        return os.path.samestat(current, os.fstat(self._outputs))

    def close(self) -> None:
        """Remove the folder and its contents. Call it after the child has ended."""
        os.close(self._outputs)
        os.close(self._folder)
        shutil.rmtree(self.source.parent, ignore_errors=True)


def _names_in(folder: int) -> list[str]:
    return os.listdir(folder)  # accepts a descriptor


def _unlink(name: str, folder: int) -> None:
    with suppress(OSError):  # missing, or not a file: then the folder stays non-empty and its child is not reused
        os.unlink(name, dir_fd=folder)


def _check_reply(rendered: Rendered, steps: Sequence[Step], limits: TransformLimits) -> None:
    expected = [step for step in steps if step.output]
    if [output.step_id for output in rendered.outputs] != [step.id for step in expected]:
        raise _invalid_reply()
    for output, step in zip(rendered.outputs, expected, strict=True):
        if step.format not in {None, output.format} or output.width * output.height > limits.max_output_pixels:
            raise _invalid_reply()


def _invalid_reply() -> TransformCrashedError:
    return TransformCrashedError("The transform process sent an invalid reply")
