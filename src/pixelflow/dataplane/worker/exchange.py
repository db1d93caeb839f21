"""What passes between a worker and a child as files: the source goes in, outputs are copied out.

A child that a picture has taken over can do in its folder what it likes. So the folder is held by descriptor, links
are never followed, and an output is read once, into a place that no child can reach: what is hashed there is stored.
Each file and folder that a job makes costs the file system more than its bytes do: there are as few as can be.
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
_IN_MEMORY = 1024 * 1024
"""Bytes of an output up to which its copy needs no file."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SOURCE, _OUTPUTS = "source", "outputs"


@dataclass(frozen=True)
class CollectedOutput:
    """A file that a child has made, out of its reach."""

    step_id: str
    format: Format
    width: int
    height: int
    content: IO[bytes]
    """At its beginning; to be closed."""
    bytes: int
    sha256: str


class Exchange:
    """A child's own folder, from before the child's start to its end: in it ``source``, and the folder ``outputs``."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / _SOURCE
        self.outputs = folder / _OUTPUTS
        self._folder = os.open(folder, _FOLDER)
        os.mkdir(_OUTPUTS, dir_fd=self._folder)
        self._outputs = os.open(_OUTPUTS, _FOLDER, dir_fd=self._folder)

    def give(self, source: Path) -> None:
        """Let the child have the source; it is gone from where it was."""
        os.rename(source, _SOURCE, dst_dir_fd=self._folder)

    def collect(
        self, rendered: Rendered, steps: Sequence[Step], limits: TransformLimits, scratch: Path
    ) -> list[CollectedOutput]:
        """Copy the outputs: into memory, or if they are large into unnamed files of ``scratch``.

        Raises:
            TransformCrashedError: what the child says it made is not what was asked for, or not there.
            OutputTooLargeError: together they have more bytes than allowed.
        """
        _check_answer(rendered, steps, limits)
        left, collected = limits.max_output_bytes, []
        with ExitStack() as opened:
            for output in rendered.outputs:
                copy = opened.enter_context(SpooledTemporaryFile(_IN_MEMORY, dir=str(scratch)))
                collected.append(self._copied(output, copy, left))
                left -= collected[-1].bytes
            opened.pop_all()
        return collected

    def _copied(self, output: RenderedOutput, copy: IO[bytes], most: int) -> CollectedOutput:
        digest, size = hashlib.sha256(), 0
        with self._opened(output_name(output.step_id, output.format)) as file:
            while chunk := file.read(_CHUNK):
                size += copy.write(chunk)
                digest.update(chunk)
                if size > most:
                    raise OutputTooLargeError("The outputs have more bytes than allowed", step_id=output.step_id)
        copy.seek(0)
        return CollectedOutput(
            output.step_id, output.format, output.width, output.height, copy, size, digest.hexdigest()
        )

    @contextmanager
    def _opened(self, name: str) -> Iterator[BufferedReader]:
        try:
            descriptor = os.open(name, _FILE, dir_fd=self._outputs)
        except OSError as error:
            raise _no_usable_answer() from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _no_usable_answer()
        with open(descriptor, "rb") as file:  # noqa: PTH123  # from a descriptor
            yield file

    def clear(self) -> None:
        """Remove what a transform has left, as far as it is what it should be."""
        for name in _names_in(self._outputs):
            _unlink(name, self._outputs)
        _unlink(_SOURCE, self._folder)

    @property
    def is_clear(self) -> bool:
        """Whether nothing lies there but the empty folder of outputs, the same that it always was."""
        try:
            if _names_in(self._folder) != [_OUTPUTS] or _names_in(self._outputs):
                return False
            found = os.stat(_OUTPUTS, dir_fd=self._folder, follow_symlinks=False)
        except OSError:  # taken away while we look
            return False
        return os.path.samestat(found, os.fstat(self._outputs))

    def close(self) -> None:
        """Remove the folder with all that is in it, once the child has ended."""
        os.close(self._outputs)
        os.close(self._folder)
        shutil.rmtree(self.source.parent, ignore_errors=True)


def _names_in(folder: int) -> list[str]:
    return os.listdir(folder)  # of a descriptor


def _unlink(name: str, folder: int) -> None:
    with suppress(OSError):  # not there, or no file: then the folder is not clear, and its child not used again
        os.unlink(name, dir_fd=folder)


def _check_answer(rendered: Rendered, steps: Sequence[Step], limits: TransformLimits) -> None:
    wanted = [step for step in steps if step.output]
    if [output.step_id for output in rendered.outputs] != [step.id for step in wanted]:
        raise _no_usable_answer()
    for output, step in zip(rendered.outputs, wanted, strict=True):
        if step.format not in {None, output.format} or output.width * output.height > limits.max_output_pixels:
            raise _no_usable_answer()


def _no_usable_answer() -> TransformCrashedError:
    return TransformCrashedError("The process that transformed the picture gave no usable answer")
